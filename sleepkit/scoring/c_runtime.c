/* Written by `python -m sleepkit export --c`: @NAME@, @TYPE@. */
#include "@HEADER@"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

@DEFINES@
#if INTEGERS
typedef int8_t value;
typedef int32_t total;
typedef int64_t wide;
#else
typedef float value, total, wide;
#endif

enum kind { CONV, ADD, RELU, MAX_POOL, MEAN_POOL };

typedef struct {
    enum kind kind;
    int32_t x, r, y;         /* places in the arena: what it reads, what it adds (-1: nothing), what it makes */
    int32_t weights, biases; /* places in the arrays below */
    int16_t in, out, length, taps, stride, padding, dilation, groups, relu;
#if INTEGERS
    int16_t x_zero, r_zero, y_zero; /* an integer q of y stands for (q - y_zero) * step */
    int32_t x_factor, r_factor;     /* step of x or r over step of y, times 2^SHIFT */
#endif
} layer;

@DATA@
static value arena[ARENA];
static value columns[4 * LARGEST]; /* inputs of four outputs of a convolution, side by side */

/* Checked by the compiler: the size of the arena, and that a shift to the right keeps the sign. */
typedef char arena_is_as_planned[sizeof arena == SLEEPKIT_ARENA ? 1 : -1];
typedef char shifts_keep_the_sign[(-5 >> 1) == -3 ? 1 : -1];

#if INTEGERS
#define ZERO(l, which) (l)->which##_zero

static inline value rounded(int zero, int64_t sum)
{
    int32_t q = zero + (int32_t)((sum + (1 << (SHIFT - 1))) >> SHIFT);
    return (value)(q < -128 ? -128 : q > 127 ? 127 : q);
}

/* n sums of output o, with what is added, as values. */
static inline void store(const layer *l, int o, const total *sum, const value *r, value *y, int n)
{
    const int32_t factor = factors[l->biases + o], r_factor = l->r_factor, r_zero = l->r_zero, zero = l->y_zero;
    for (int j = 0; j < n; j++)
        y[j] = rounded(zero, (int64_t)sum[j] * factor + (r ? (int64_t)(r[j] - r_zero) * r_factor : 0));
}

static value added(const layer *l, value a, value b)
{
    return rounded(l->y_zero, (int64_t)(a - l->x_zero) * l->x_factor + (int64_t)(b - l->r_zero) * l->r_factor);
}

static value mean(total sum, int n)
{
    return (value)((2 * (sum + 128 * n) + n) / (2 * n) - 128);
}

static value input(float x)
{
    float q = INPUT_ZERO + floorf(x / INPUT_STEP + 0.5f);
    return (value)(q < -128 ? -128 : q > 127 ? 127 : q);
}
#else
#define ZERO(l, which) 0

static inline void store(const layer *l, int o, const total *sum, const value *r, value *y, int n)
{
    (void)o;
    for (int j = 0; j < n; j++) {
        total s = sum[j] + (r ? r[j] : 0);
        y[j] = l->relu && s < 0 ? 0 : s;
    }
}

static value added(const layer *l, value a, value b)
{
    (void)l;
    return a + b;
}

static value mean(total sum, int n)
{
    return sum / (float)n;
}

static value input(float x)
{
    return x;
}
#endif

/* A value is its channels one after the other; all layers of stride 2 round an odd length up. */
static int outputs(const layer *l)
{
    return (l->length + l->stride - 1) / l->stride;
}

static void gather(const layer *l, const value *x, int channels, int first)
{
    value *to = columns;
    for (int c = 0; c < channels; c++, x += l->length)
        for (int k = 0; k < l->taps; k++)
            for (int j = 0, place = first + k * l->dilation; j < 4; j++, place += l->stride)
                *to++ = place >= 0 && place < l->length ? x[place] : (value)ZERO(l, x);
}

/* Four outputs in time at once, so that a weight is read once for four products: their inputs are where they lie, where
   one input is as far from the next for each of the terms, else gathered. */
static void conv(const layer *l, const value *x, const value *r, value *y)
{
    const int n = outputs(l), in = l->in / l->groups, out = l->out / l->groups, terms = in * l->taps;
    const int even = l->stride == 1 && (l->taps == 1 || in == 1), reach = 3 + (l->taps - 1) * l->dilation;
    for (int g = 0; g < l->groups; g++, x += in * l->length)
        for (int t = 0; t < n; t += 4) {
            const int first = t * l->stride - l->padding, direct = even && first >= 0 && first + reach < l->length;
            const int step = !direct ? 4 : l->taps == 1 ? l->length : l->dilation;
            const value *from = direct ? x + first : columns, *w = weights + l->weights + g * out * terms;
            if (!direct)
                gather(l, x, in, first);
            for (int o = g * out; o < (g + 1) * out; o++) {
                const value *p = from;
                const total b = biases[l->biases + o];
                total a0 = b, a1 = b, a2 = b, a3 = b;
                for (int i = 0; i < terms; i++, w++, p += step) {
                    a0 += *w * p[0];
                    a1 += *w * p[1];
                    a2 += *w * p[2];
                    a3 += *w * p[3];
                }
                const total sum[4] = {a0, a1, a2, a3};
                const int at = o * n + t;
                if (t + 4 <= n)
                    store(l, o, sum, r ? r + at : NULL, y + at, 4);
                else
                    store(l, o, sum, r ? r + at : NULL, y + at, n - t);
            }
        }
}

static void add(const layer *l, const value *x, const value *r, value *y)
{
    for (int i = 0; i < l->in * l->length; i++)
        y[i] = added(l, x[i], r[i]);
}

static void relu(const layer *l, const value *x, value *y)
{
    for (int i = 0; i < l->in * l->length; i++)
        y[i] = x[i] < ZERO(l, x) ? (value)ZERO(l, x) : x[i];
}

static void max_pool(const layer *l, const value *x, value *y)
{
    for (int c = 0; c < l->in; c++, x += l->length)
        for (int t = 0; t < l->length; t += l->stride) {
            value largest = x[t];
            if (t > 0 && x[t - 1] > largest)
                largest = x[t - 1];
            if (t + 1 < l->length && x[t + 1] > largest)
                largest = x[t + 1];
            *y++ = largest;
        }
}

static void mean_pool(const layer *l, const value *x, value *y)
{
    for (int c = 0; c < l->in; c++, x += l->length)
        for (int t = 0; t < l->length; t += l->stride) {
            int before = t > 0, behind = t + 1 < l->length;
            total sum = (total)x[t] + (before ? x[t - 1] : 0) + (behind ? x[t + 1] : 0);
            *y++ = mean(sum, 1 + before + behind);
        }
}

static void run(const layer *l)
{
    const value *x = arena + l->x, *r = l->r < 0 ? NULL : arena + l->r;
    value *y = arena + l->y;
    switch (l->kind) {
    case CONV: conv(l, x, r, y); break;
    case ADD: add(l, x, r, y); break;
    case RELU: relu(l, x, y); break;
    case MAX_POOL: max_pool(l, x, y); break;
    case MEAN_POOL: mean_pool(l, x, y); break;
    }
}

void sleepkit_logits(const float *uv, float logits[5])
{
    for (int t = 0; t < SLEEPKIT_SAMPLES; t++) {
        float x = (isfinite(uv[t]) ? uv[t] : 0) * INPUT_SCALE + INPUT_SHIFT;
        arena[INPUT + t] = input(x < -1 ? -1 : x > 1 ? 1 : x);
    }
    for (int i = 0; i < LAYERS; i++)
        run(&layers[i]);
    wide sums[5] = {0};
    for (int c = 0; c < LAST_CHANNELS; c++) {
        total sum = 0;
        for (int t = 0; t < LAST_LENGTH; t++)
            sum += arena[LAST + c * LAST_LENGTH + t] - LAST_ZERO;
        for (int k = 0; k < 5; k++)
            sums[k] += (wide)classifier[k * LAST_CHANNELS + c] * sum;
    }
    for (int k = 0; k < 5; k++)
        logits[k] = logit_biases[k] + logit_steps[k] * (float)sums[k];
}

static int largest_of(const float values[5])
{
    int best = 0;
    for (int k = 1; k < 5; k++)
        best = values[k] > values[best] ? k : best;
    return best;
}

static void normalise(float values[5])
{
    float sum = 0;
    for (int k = 0; k < 5; k++)
        sum += values[k];
    for (int k = 0; k < 5; k++)
        values[k] /= sum;
}

int sleepkit_stage(const float *uv, float probabilities[5])
{
    float logits[5];
    sleepkit_logits(uv, logits);
    int best = largest_of(logits);
    for (int k = 0; k < 5; k++)
        probabilities[k] = expf(logits[k] - logits[best]);
    normalise(probabilities);
    return best;
}

/* Whether a second is flat, clipped at `low` or `high`, or not recorded. */
static int bad_second(const float *uv, int first, int end, float low, float high)
{
    int rail = 0, missing = 0;
    float least = uv[first], most = uv[first];
    for (int t = first; t < end; t++) {
        missing += !isfinite(uv[t]);
        rail += uv[t] == low || uv[t] == high;
        least = uv[t] < least ? uv[t] : least;
        most = uv[t] > most ? uv[t] : most;
    }
    return missing || !(most - least >= FLAT) || (float)rail > AT_RAIL * SLEEPKIT_RATE;
}

/* Standard deviation of what was recorded. */
static float deviation(const float *uv, int first, int end)
{
    float sum = 0, squares = 0;
    int n = 0;
    for (int t = first; t < end; t++)
        if (isfinite(uv[t])) {
            sum += uv[t];
            n++;
        }
    for (int t = first; t < end; t++)
        if (isfinite(uv[t]))
            squares += (uv[t] - sum / (float)n) * (uv[t] - sum / (float)n);
    return n ? sqrtf(squares / (float)n) : 0;
}

static int second(int s)
{
    return (int)lrintf((float)s * SLEEPKIT_RATE);
}

static int count(const unsigned char *bad, int seconds)
{
    int n = 0;
    for (int s = 0; s < seconds; s++)
        n += bad[s];
    return n;
}

/* Whether the amplitude is that of EEG: the median deviation of stretches of 5 s of which at most half is bad. */
static int plausible(const float *uv, const unsigned char bad[30])
{
    float sorted[6];
    int n = 0;
    for (int s = 0; s < 30; s += 5)
        if (2 * count(bad + s, 5) <= 5) {
            float found = deviation(uv, second(s), second(s + 5));
            int at = n++;
            for (; at > 0 && sorted[at - 1] > found; at--)
                sorted[at] = sorted[at - 1];
            sorted[at] = found;
        }
    float median = n ? (sorted[(n - 1) / 2] + sorted[n / 2]) / 2 : 0;
    return median >= LEAST && median <= MOST;
}

/* The mean of the probabilities of the windows that vote; 0 where the epoch cannot be scored. */
static int vote(const float *uv, float probabilities[5])
{
    const int seconds = 30 / SLEEPKIT_WINDOWS;
    unsigned char bad[30];
    float low = INFINITY, high = -INFINITY, window[5];
    int good = 0;
    for (int t = 0; t < SLEEPKIT_WINDOWS * SLEEPKIT_SAMPLES; t++)
        if (isfinite(uv[t])) {
            low = uv[t] < low ? uv[t] : low;
            high = uv[t] > high ? uv[t] : high;
        }
    for (int s = 0; s < 30; s++)
        bad[s] = (unsigned char)bad_second(uv, second(s), second(s + 1), low, high);
    for (int w = 0; w < SLEEPKIT_WINDOWS; w++)
        good += 2 * count(bad + w * seconds, seconds) <= seconds;
    if (2 * good < SLEEPKIT_WINDOWS || !plausible(uv, bad))
        return 0;
    for (int w = 0; w < SLEEPKIT_WINDOWS; w++)
        if (2 * count(bad + w * seconds, seconds) <= seconds) {
            sleepkit_stage(uv + w * SLEEPKIT_SAMPLES, window);
            for (int k = 0; k < 5; k++)
                probabilities[k] += window[k];
        }
    normalise(probabilities);
    return 1;
}

int sleepkit_epoch(sleepkit_state *state, const float *uv, float probabilities[5])
{
    float alone[5] = {0};
    const int scored = vote(uv, alone);
#if CONTEXT
    /* The forward step of a hidden Markov model; an epoch that is not scored says nothing, and time goes on. */
    float belief[5];
    for (int k = 0; k < 5; k++) {
        float predicted = state->started ? 0 : prior[k];
        for (int j = 0; j < 5 && state->started; j++)
            predicted += state->belief[j] * transition[5 * j + k];
        belief[k] = predicted * (scored ? alone[k] / prior[k] : 1) + 1e-30f;
    }
    normalise(belief);
    for (int k = 0; k < 5; k++)
        state->belief[k] = alone[k] = belief[k];
#endif
    state->started = 1;
    for (int k = 0; k < 5; k++)
        probabilities[k] = scored ? alone[k] : 0;
    return scored ? largest_of(probabilities) : -1;
}
