/* The median of some numbers. */
#ifndef MEDIAN_H
#define MEDIAN_H

#include <stddef.h>

/* Sorts values [n], which hold no NaN; the mean of the two in the middle of an even number. NaN for
 * none. */
double median(double *values, size_t n);

#endif
