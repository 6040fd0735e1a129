/* Makes the kernel look at processor quotas more often than its timer does.
 *
 *     ticker MICROSECONDS
 *
 * The scheduler charges a running process against its quota when the timer ticks, which may be every
 * 4 ms, and whenever another process takes its place. A quota of 1 ms is therefore overdrawn by up to
 * a tick. Here, one thread on each processor, with a real-time priority, wakes in a steady rhythm and
 * goes to sleep again: each time the process that it displaced is charged.
 *
 * Says `ready` on standard output once all threads run; ends by a signal. */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NANOSECONDS = 1000000000, PRIORITY = 1 };

static long period_ns;
static pthread_barrier_t started;

static void fail(const char *what, int error)
{
    fprintf(stderr, "ticker: %s: %s\n", what, strerror(error));
    exit(1);
}

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static struct timespec later(struct timespec moment)
{
    moment.tv_nsec += period_ns;
    moment.tv_sec += moment.tv_nsec / NANOSECONDS;
    moment.tv_nsec %= NANOSECONDS;
    return moment;
}

/* Bind this thread to one processor, ahead of every ordinary process there. */
static void settle(int processor)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(processor, &only);
    int error = pthread_setaffinity_np(pthread_self(), sizeof only, &only);
    if (error)
        fail("a thread cannot be bound to its processor", error);
    struct sched_param first = {.sched_priority = PRIORITY};
    error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
    if (error)
        fail("real-time priority is refused", error);
}

static void *tick(void *processor)
{
    settle((int)(long)processor);
    pthread_barrier_wait(&started);
    struct timespec next, now;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        next = later(next);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (is_before(next, now)) /* the machine stood still: do not catch up */
            next = later(now);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
            ;
    }
    return NULL;
}

int main(int count, char **words)
{
    long microseconds = count == 2 ? atol(words[1]) : 0;
    if (microseconds < 50 || microseconds > 100000) {
        fprintf(stderr, "usage: ticker MICROSECONDS, from 50 to 100000\n");
        return 2;
    }
    period_ns = microseconds * 1000;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        fail("the processors cannot be listed", errno);
    pthread_barrier_init(&started, NULL, (unsigned)CPU_COUNT(&allowed) + 1);
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        pthread_t thread;
        int error = CPU_ISSET(processor, &allowed) ? pthread_create(&thread, NULL, tick, (void *)(long)processor) : 0;
        if (error)
            fail("a thread cannot be started", error);
    }
    pthread_barrier_wait(&started);
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
