/* A collection of images in idx files, made up: blobs whose place is their class's, and noise.
 * cmocka's headers come first. */
#ifndef MADE_IMAGES_H
#define MADE_IMAGES_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "problems/images.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE, IMAGES = 600 };

static void put_header(uint8_t *to, uint8_t dims, uint32_t n, uint32_t side)
{
    const uint32_t sizes[] = {n, side, side};
    memcpy(to, (uint8_t[]){0, 0, 8, dims}, 4);
    for (int i = 0; i < dims; i++)
        for (int j = 0; j < 4; j++) to[4 + 4 * i + j] = (uint8_t)(sizes[i] >> (24 - 8 * j));
}

/* Label i·7 mod 10; pixels a blob whose place is the class's, and noise. */
static uint8_t label_of(size_t i) { return (uint8_t)(i * 7 % 10); }

static uint8_t pixel_of(size_t i, int y, int x)
{
    const int down = y - 4 - 2 * label_of(i), right = x - 22 + 2 * label_of(i);
    const double blob = 180 * exp(-(down * down + right * right) / 20.0);
    return (uint8_t)(blob + (double)((i * 131 + (size_t)(y * 17 + x * 29) * (i % 23 + 1)) % 61));
}

/* A whole file: header, images or labels. The caller frees it. */
static uint8_t *make_images(size_t *size)
{
    uint8_t *file = malloc(*size = 16 + IMAGES * PIXELS);
    put_header(file, 3, IMAGES, SIDE);
    for (size_t i = 0; i < IMAGES; i++)
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                file[16 + i * PIXELS + (size_t)(y * SIDE + x)] = pixel_of(i, y, x);
    return file;
}

static uint8_t *make_labels(size_t *size)
{
    uint8_t *file = malloc(*size = 8 + IMAGES);
    put_header(file, 1, IMAGES, 0);
    for (size_t i = 0; i < IMAGES; i++) file[8 + i] = label_of(i);
    return file;
}

#endif
