/* A wall clock that a test sets: an LD_PRELOAD library for Linux.
 *
 *   SHOWN_CLOCK  a file of 8 bytes: Unix milliseconds, in the machine's byte order
 *
 * Only the wall clock is shown so; time that only grows goes on by itself.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shown;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SHOWN_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) abort();
    void *page = mmap(NULL, sizeof *shown, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) abort();
    close(fd);
    shown = page;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    int64_t ms = *shown;
    now->tv_sec = ms / 1000;
    now->tv_usec = ms % 1000 * 1000;
    return 0;
}

time_t time(time_t *now) {
    time_t seconds = *shown / 1000;
    if (now) *now = seconds;
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return syscall(SYS_clock_gettime, clock, now);
    int64_t ms = *shown;
    now->tv_sec = ms / 1000;
    now->tv_nsec = ms % 1000 * 1000000;
    return 0;
}
