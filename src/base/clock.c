/* Durations from the system's clocks. */
#include "base/clock.h"

double clock_seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double clock_seconds(void) { return clock_seconds_of(CLOCK_MONOTONIC); }
