/* Sleep stages from one EEG channel, written by `python -m sleepkit export --c`: @NAME@, @TYPE@.
   C99, no allocation, no dependency but math.h. Not reentrant: there is one arena. */
#ifndef SLEEPKIT_H
#define SLEEPKIT_H

#define SLEEPKIT_RATE @FS@f /* Hz */
#define SLEEPKIT_SAMPLES @SAMPLES@ /* of a window */
#define SLEEPKIT_WINDOWS @WINDOWS@ /* of an epoch of 30 s */
#define SLEEPKIT_ARENA @BYTES@ /* bytes of RAM for what the layers make */

#ifdef __cplusplus
extern "C" {
#endif

/* What is known of the night so far; all zero before the first epoch. */
typedef struct {
    float belief[5];
    int started;
} sleepkit_state;

/* An epoch: SLEEPKIT_WINDOWS * SLEEPKIT_SAMPLES values in microvolts -> the stage, 0 to 4 for W, N1, N2, N3, REM,
   and the probability of each given all epochs so far. -1, and zeros, where more than half of the windows are flat,
   clipped or not recorded, or the amplitude is not that of EEG. */
int sleepkit_epoch(sleepkit_state *state, const float *uv, float probabilities[5]);

/* A window for itself: SLEEPKIT_SAMPLES values in microvolts -> the stage and the network's probabilities. */
int sleepkit_stage(const float *uv, float probabilities[5]);

/* The same before the softmax. */
void sleepkit_logits(const float *uv, float logits[5]);

#ifdef __cplusplus
}
#endif
#endif
