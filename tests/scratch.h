/* A folder for the files of one test program, removed when it ends. cmocka's headers come first. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch_folder[300];

static int scratch_make(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    if (!base || !*base) base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(scratch_folder, sizeof(scratch_folder), "%.200s/hrnn-test-XXXXXX", base);
    return mkdtemp(scratch_folder) ? 0 : -1;
}

/* The path of a file in the folder; the same name gives the same string. At most 32 names. */
__attribute__((unused)) static const char *scratch_path(const char *name)
{
    enum { NAMES = 32 };
    static char paths[NAMES][600];
    char path[600];
    snprintf(path, sizeof(path), "%s/%.250s", scratch_folder, name);
    for (int i = 0; i < NAMES; i++) {
        if (!paths[i][0]) strcpy(paths[i], path);
        if (strcmp(paths[i], path) == 0) return paths[i];
    }
    fail_msg("more than %d scratch files", NAMES);
    return NULL;
}

static int scratch_remove(void **state)
{
    (void)state;
    DIR *folder = opendir(scratch_folder);
    if (!folder) return -1;
    for (struct dirent *d; (d = readdir(folder));)
        if (d->d_name[0] != '.') unlinkat(dirfd(folder), d->d_name, 0);
    closedir(folder);
    return rmdir(scratch_folder);
}

__attribute__((unused)) static void scratch_write(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The whole file, freed by the caller. */
__attribute__((unused)) static unsigned char *scratch_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

__attribute__((unused)) static int scratch_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

#endif
