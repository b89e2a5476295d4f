/* The order of sync and rename that survives a crash, and the digest of a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include "files/atomic_file.h"

char *atomic_pending_path(const char *path)
{
    size_t bytes = strlen(path) + sizeof(".new");
    char *pending = malloc(bytes);
    if (pending) snprintf(pending, bytes, "%s.new", path);
    return pending;
}

opt_status atomic_open(atomic_file *file, const char *path, opt_error *error)
{
    struct stat there;
    *file = (atomic_file){0};
    /* A rename would put a plain file in the place of a device or a folder. */
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return opt_fail(error, OPT_IO, "%s: exists and is not a regular file", path);
    file->path = strdup(path);
    file->pending = atomic_pending_path(path);
    if (!file->path || !file->pending) {
        atomic_abandon(file);
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", path);
    }
    file->stream = fopen(file->pending, "wb");
    if (!file->stream) {
        opt_fail(error, OPT_IO, "%s: cannot be created: %s", file->pending, strerror(errno));
        free(file->path);
        free(file->pending);
        *file = (atomic_file){0};
        return OPT_IO;
    }
    return OPT_OK;
}

opt_status atomic_sync(atomic_file *file, opt_error *error)
{
    errno = 0;
    int failed =
        fflush(file->stream) != 0 || ferror(file->stream) || fsync(fileno(file->stream)) != 0;
    int cause = errno;
    if (fclose(file->stream) != 0 && !failed) {
        failed = 1;
        cause = errno;
    }
    file->stream = NULL;
    if (!failed) return OPT_OK;
    return opt_fail(error, OPT_IO, "%s: cannot be written: %s", file->pending,
                    cause ? strerror(cause) : "an earlier write failed");
}

/* So that the rename itself survives a power cut. Some file systems cannot; the file is then as
 * safe as they make it. */
static opt_status sync_folder(const char *path, opt_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    char *folder = slash ? strndup(path, length ? length : 1) : strdup(".");
    if (!folder) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to sync its folder", path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP;
    opt_status status = OPT_OK;
    if (failed)
        status = opt_fail(error, OPT_IO, "%s: cannot be synced: %s", folder, strerror(errno));
    if (fd >= 0) close(fd);
    free(folder);
    return status;
}

static opt_status put_in_place(const char *pending, const char *path, opt_error *error)
{
    if (rename(pending, path) != 0)
        return opt_fail(error, OPT_IO, "%s: cannot be renamed to %s: %s", pending, path,
                        strerror(errno));
    return OPT_OK;
}

opt_status atomic_adopt(const char *path, opt_error *error)
{
    char *pending = atomic_pending_path(path);
    opt_status status = pending ? put_in_place(pending, path, error)
                                : opt_fail(error, OPT_NO_MEMORY, "%s: no memory to find it", path);
    if (!status) status = sync_folder(path, error);
    free(pending);
    return status;
}

opt_status atomic_commit(atomic_file *file, opt_error *error)
{
    opt_status status = put_in_place(file->pending, file->path, error);
    if (status) return status;
    status = sync_folder(file->path, error);
    free(file->path);
    free(file->pending);
    *file = (atomic_file){0};
    return status;
}

void atomic_abandon(atomic_file *file)
{
    if (file->stream) fclose(file->stream);
    if (file->pending) unlink(file->pending);
    free(file->path);
    free(file->pending);
    *file = (atomic_file){0};
}

opt_status atomic_write(const char *path, atomic_writer *write, void *context, opt_error *error)
{
    atomic_file file;
    opt_status status = atomic_open(&file, path, error);
    if (!status) status = write(file.stream, context, error);
    if (!status) status = atomic_sync(&file, error);
    if (!status) status = atomic_commit(&file, error);
    if (status) atomic_abandon(&file);
    return status;
}

static opt_status digest_stream(FILE *stream, const char *path, char digest[33], uint64_t *size,
                                opt_error *error)
{
    enum { CHUNK = 1 << 18 };
    XXH3_state_t *state = XXH3_createState();
    unsigned char *chunk = malloc(CHUNK);
    opt_status status = OPT_OK;
    if (!state || !chunk) {
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", path);
        goto done;
    }
    XXH3_128bits_reset(state);
    *size = 0;
    for (size_t got; (got = fread(chunk, 1, CHUNK, stream)) > 0;) {
        XXH3_128bits_update(state, chunk, got);
        *size += got;
    }
    if (ferror(stream)) {
        status = opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", path, strerror(errno));
        goto done;
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    snprintf(digest, 33, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
done:
    free(chunk);
    XXH3_freeState(state);
    return status;
}

opt_status file_digest(const char *path, char digest[33], uint64_t *size, opt_error *error)
{
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return opt_fail(error, OPT_NO_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    opt_status status = digest_stream(stream, path, digest, size, error);
    fclose(stream);
    return status;
}
