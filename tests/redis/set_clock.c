/* A wall clock that a test sets: an LD_PRELOAD library for Linux.
 *
 *   SHOWN_CLOCK    a file of 8 bytes: what it shows, Unix milliseconds, in the machine's byte order
 *   SHIFTED_CLOCK  or such a file with how many milliseconds it is ahead of the machine's
 *
 * Only the wall clock is set so; time that only grows goes on by itself.
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

#define NS_A_SECOND 1000000000LL
#define NS_A_MS 1000000LL

static const volatile int64_t *told;
static int is_shifted;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SHOWN_CLOCK");
    if (!path) {
        path = getenv("SHIFTED_CLOCK");
        is_shifted = 1;
    }
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) abort();
    void *page = mmap(NULL, sizeof *told, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) abort();
    close(fd);
    told = page;
}

static int64_t now_ns(void) {
    int64_t ns = *told * NS_A_MS;
    if (is_shifted) {
        struct timespec machine;
        syscall(SYS_clock_gettime, CLOCK_REALTIME, &machine);
        ns += machine.tv_sec * NS_A_SECOND + machine.tv_nsec;
    }
    return ns;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    int64_t ns = now_ns();
    now->tv_sec = ns / NS_A_SECOND;
    now->tv_usec = ns % NS_A_SECOND / 1000;
    return 0;
}

time_t time(time_t *now) {
    time_t seconds = now_ns() / NS_A_SECOND;
    if (now) *now = seconds;
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return syscall(SYS_clock_gettime, clock, now);
    int64_t ns = now_ns();
    now->tv_sec = ns / NS_A_SECOND;
    now->tv_nsec = ns % NS_A_SECOND;
    return 0;
}
