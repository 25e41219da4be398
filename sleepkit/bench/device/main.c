/* Stages epochs.f32 of the host, 30-s epochs of float32 in microvolts, on a Cortex-M without an operating system: a line
   for each epoch with stage, probabilities in millionths and instructions, at the end the bytes of stack that were used.
   Files come and text goes by semihosting. Compile with `-include NAME.h`. */
#include <stdint.h>

enum { OPEN = 1, WRITE0 = 4, READ = 6, EXIT = 0x18, EXITED = 0x20026, TICK = 40 /* instructions, see docs/wearable.md */ };
#define REGISTER(place) (*(volatile uint32_t *)(place))
#define STEP REGISTER(0xE000E010) /* SysTick: control, reload, value */
#define RELOAD REGISTER(0xE000E014)
#define PAINT 0xA5A5A5A5
#define NOW REGISTER(0xE000E018)

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_low[], stack_begun[],
    stack_top[];
static volatile uint32_t rounds;
static float epoch[SLEEPKIT_WINDOWS * SLEEPKIT_SAMPLES];
static sleepkit_state state;

static int32_t host(uint32_t call, const void *arguments)
{
    register uint32_t r0 __asm__("r0") = call;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

static void print(uint64_t number, const char *behind)
{
    char text[24], *at = text + 23;
    *at = 0;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    host(WRITE0, at);
    host(WRITE0, behind);
}

static uint64_t ticks(void)
{
    uint32_t before, left;
    do {
        before = rounds;
        left = NOW;
    } while (before != rounds || left == 0); /* zero is before the first round or between two */
    return ((uint64_t)before << 24) + (0xFFFFFF - left);
}

static void another_round(void)
{
    rounds++;
}

static void fault(void)
{
    host(WRITE0, "fault\n");
    host(EXIT, (void *)EXITED);
}

__attribute__((noinline)) static void stage_all(void) /* apart, as `reset` must not use the FPU before it is on */
{
    const void *name[] = {"epochs.f32", (void *)1, (void *)10};
    int32_t file = host(OPEN, name);
    const void *into[] = {(void *)file, epoch, (void *)sizeof epoch};
    float probabilities[5];
    if (file < 0)
        host(WRITE0, "epochs.f32 is missing\n");
    while (file >= 0 && host(READ, into) == 0) {
        uint64_t start = ticks();
        int stage = sleepkit_epoch(&state, epoch, probabilities);
        uint64_t taken = ticks() - start;
        host(WRITE0, stage < 0 ? "-" : "");
        print((uint64_t)(stage < 0 ? -stage : stage), " ");
        for (int k = 0; k < 5; k++)
            print((uint64_t)(1e6f * probabilities[k] + 0.5f), " ");
        print(TICK * taken, "\n");
    }
}

void reset(void)
{
    REGISTER(0xE000ED88) |= 0xF << 20; /* the FPU on */
    __asm__ volatile("dsb; isb");
    for (uint32_t *from = data_load, *to = data_start; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    for (uint32_t *to = stack_low; to < stack_begun; to++)
        *to = PAINT;
    RELOAD = 0xFFFFFF;
    NOW = 0;
    STEP = 7; /* on, by the processor's clock, with an interrupt at zero */
    stage_all();
    const uint32_t *lowest = stack_low;
    while (*lowest == PAINT)
        lowest++;
    host(WRITE0, "stack ");
    print((uint64_t)(stack_top - lowest) * 4, "\n");
    host(EXIT, (void *)EXITED);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)reset, [2 ... 6] = (void *)fault, [15] = (void *)another_round,
};
