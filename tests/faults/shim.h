/* What the preloaded shims share: which files they watch, and the real calls behind those that they take the place of.
 *
 * A shim watches what lies below one folder, by the paths that the kernel gives for open files. It sees what goes through
 * the C library (all of Rust's std::fs, sled too); no program under test writes through maps or system calls of its own.
 */
#ifndef SHIM_H
#define SHIM_H
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The watched folder. */
static char dir[PATH_MAX];
static size_t dir_len;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *), (*real_unlink)(const char *);
static int (*real_linkat)(int, const char *, int, const char *, int);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_open)(const char *, int, ...), (*real_openat)(int, const char *, int, ...);

/* Finds the real calls, and watches the folder that an environment variable names. */
static void watch_below(const char *variable) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_linkat = dlsym(RTLD_NEXT, "linkat");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    const char *value = getenv(variable);
    if (value && realpath(value, dir)) dir_len = strlen(dir);
}

/* The folder itself, too. */
static int below(const char *path) {
    return dir_len && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || !path[dir_len]);
}

/* The path behind a descriptor; whether it is below the folder. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = 0;
    return below(path);
}

/* The other names of calls that a shim defines. */
ssize_t pwrite64(int fd, const void *buf, size_t count, off_t at);
int ftruncate64(int fd, off_t len);
int open64(const char *path, int flags, ...);

ssize_t pwrite(int fd, const void *buf, size_t count, off_t at) { return pwrite64(fd, buf, count, at); }
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }
int open(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    return open64(path, flags, mode);
}

#endif
