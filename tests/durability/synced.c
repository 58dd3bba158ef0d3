/* What a power cut would leave: an LD_PRELOAD library for Linux.
 *
 * It notes how much of each file was on the disk when a sync of it returned, so that after the
 * process was killed the files can be cut to that. `shim.py` reads the notes and cuts.
 *
 *   SYNCED_DIRECTORY  only files under it count
 *   SYNCED_RECORD     where the notes go, appended: kind, device, inode, length
 *   SYNCED_FULL       while a file of this name is there, what would grow a file fails: ENOSPC
 *
 * What was written and not synced counts as lost, also with O_DSYNC or sync_file_range. Overwriting
 * in place is not modelled, nor the loss of a name whose directory was not synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SET = 1, AT_MOST = 2 };

static char directory[PATH_MAX];
static size_t directory_length;
static const char *full;
static int record = -1;

__attribute__((constructor)) static void start(void) {
    const char *under = getenv("SYNCED_DIRECTORY"), *path = getenv("SYNCED_RECORD");
    full = getenv("SYNCED_FULL");
    if (!under || !path || !realpath(under, directory)) return;
    directory_length = strlen(directory);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    /* Out of the way of programs that count on low numbers. */
    record = fcntl(fd, F_DUPFD_CLOEXEC, 700);
    if (record < 0) record = fd; else syscall(SYS_close, fd);
}

static int ours(int fd) {
    if (record < 0) return 0;
    int saved = errno;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    return length > (ssize_t)directory_length && !memcmp(path, directory, directory_length) &&
           path[directory_length] == '/';
}

static void note(uint64_t kind, const struct stat *file, uint64_t length) {
    uint64_t line[4] = {kind, file->st_dev, file->st_ino, length};
    int saved = errno;
    if (syscall(SYS_write, record, line, sizeof line) != sizeof line) abort();
    errno = saved;
}

static int no_room(int fd) {
    if (!full || syscall(SYS_faccessat, AT_FDCWD, full, F_OK) != 0 || !ours(fd)) return 0;
    errno = ENOSPC;
    return 1;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* --- syncing: what the file held when the sync began is on the disk when it returns --- */

#define SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        struct stat file; \
        int counts = ours(fd) && fstat(fd, &file) == 0 && S_ISREG(file.st_mode); \
        int result = real(fd); \
        if (result == 0 && counts) note(SET, &file, file.st_size); \
        return result; \
    }
SYNC(fsync)
SYNC(fdatasync)

/* --- opening: a new file may have the inode of one that was removed --- */

static int opened(int fd) {
    struct stat file;
    if (fd >= 0 && ours(fd) && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_size == 0)
        note(SET, &file, 0);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode = va_arg(arguments, mode_t); \
        va_end(arguments); \
    }
#define WRITES(flags) ((flags) & (O_CREAT | O_TRUNC))

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        MODE(flags) \
        int fd = real(path, flags, mode); \
        return WRITES(flags) ? opened(fd) : fd; \
    }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        MODE(flags) \
        int fd = real(at, path, flags, mode); \
        return WRITES(flags) ? opened(fd) : fd; \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *how) { \
        REAL(name); \
        FILE *file = real(path, how); \
        if (file && how[0] != 'r') opened(fileno(file)); \
        return file; \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* --- writing and growing --- */

ssize_t write(int fd, const void *data, size_t count) {
    REAL(write);
    return no_room(fd) ? -1 : real(fd, data, count);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return no_room(fd) ? -1 : real(fd, parts, count);
}
#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t count, offset_type at) { \
        REAL(name); \
        return no_room(fd) ? -1 : real(fd, data, count, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type at) { \
        REAL(name); \
        return no_room(fd) ? -1 : real(fd, parts, count, at); \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define FALLOCATE(name, offset_type) \
    int name(int fd, int mode, offset_type at, offset_type count) { \
        REAL(name); \
        return no_room(fd) ? -1 : real(fd, mode, at, count); \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)
#define POSIX_FALLOCATE(name, offset_type) \
    int name(int fd, offset_type at, offset_type count) { \
        REAL(name); \
        return no_room(fd) ? ENOSPC : real(fd, at, count); \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

#define FTRUNCATE(name, offset_type) \
    int name(int fd, offset_type length) { \
        REAL(name); \
        struct stat file; \
        int counts = ours(fd) && fstat(fd, &file) == 0; \
        if (counts && length > file.st_size && no_room(fd)) return -1; \
        int result = real(fd, length); \
        if (result == 0 && counts) note(AT_MOST, &file, length); \
        return result; \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)
