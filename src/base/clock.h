/* Seconds, for durations. */
#ifndef CLOCK_H
#define CLOCK_H

#include <time.h>

/* Since some moment in the past; it never goes back. */
double clock_seconds(void);
/* The same of another clock: CLOCK_THREAD_CPUTIME_ID, CLOCK_PROCESS_CPUTIME_ID, ... */
double clock_seconds_of(clockid_t clock);

#endif
