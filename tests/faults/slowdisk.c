/* A slow disk for one process: every fsync and fdatasync takes longer while a control file says so.
 *
 * Preloaded into a node by the chaos test. The pause is drawn anew for each call and comes before the real sync, so
 * that nothing is durable any sooner than the process hears of it.
 *
 *   SLOW_FILE  control file: while it exists and holds "LEAST MOST", a sync takes LEAST to MOST milliseconds longer
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int (*real_fsync)(int), (*real_fdatasync)(int);
static const char *control;
static _Atomic uint64_t state = 88172645463325252ull;

__attribute__((constructor)) static void init(void) {
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    control = getenv("SLOW_FILE");
}

static uint64_t draw(void) { /* splitmix64 */
    uint64_t z = atomic_fetch_add(&state, 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static void wait_for_the_disk(void) {
    FILE *file = control ? fopen(control, "re") : NULL;
    if (!file) return;
    unsigned long least = 0, most = 0;
    int read = fscanf(file, "%lu %lu", &least, &most);
    fclose(file);
    if (read != 2 || most < least) return;
    unsigned long ms = least + draw() % (most - least + 1);
    struct timespec pause = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
    nanosleep(&pause, NULL);
}

int fsync(int fd) { wait_for_the_disk(); return real_fsync(fd); }
int fdatasync(int fd) { wait_for_the_disk(); return real_fdatasync(fd); }
