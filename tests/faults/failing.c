/* A disk that fails: one call of one process, chosen by its number, gets an error.
 *
 * Preloaded into a node by the tests. It counts the calls that change files below one folder: writes, truncations,
 * syncs, and the making, renaming, linking and removing of names. From the moment that FAULT_ARM exists, the N-th call
 * fails as FAULT_KIND says. It plays no lost pages; powercut.c does.
 *
 *   FAULT_DIR   only files below this folder
 *   FAULT_ARM   counting begins once this file is there
 *   FAULT_AT    number of the call that fails; 0 = none
 *   FAULT_KIND  enospc  the disk is full from this call on: of the first write, half still fits if it makes the file longer
 *               eio     this call fails with EIO, later ones do not
 *               short   this write writes half of its bytes, and says so
 *               delay   every sync takes FAULT_MS ms longer
 *   FAULT_LOG   each counted call adds a line: number, call, path below the folder
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { NONE, ENOSPC_FROM, EIO_ONCE, SHORT_ONCE, DELAY };
enum verdict { GO, FAIL, HALF };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX], arm[PATH_MAX];
static size_t dir_len;
static uint64_t calls, fail_at, delay_ms;
static enum kind kind;
static int armed, log_fd = -1;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *), (*real_unlink)(const char *);
static int (*real_linkat)(int, const char *, int, const char *, int);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_open)(const char *, int, ...);

__attribute__((constructor)) static void init(void) {
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
    const char *value = getenv("FAULT_DIR");
    if (value && realpath(value, dir)) dir_len = strlen(dir);
    if ((value = getenv("FAULT_ARM"))) snprintf(arm, sizeof arm, "%s", value);
    if ((value = getenv("FAULT_AT"))) fail_at = strtoull(value, NULL, 10);
    if ((value = getenv("FAULT_MS"))) delay_ms = strtoull(value, NULL, 10);
    if ((value = getenv("FAULT_KIND")))
        kind = !strcmp(value, "enospc") ? ENOSPC_FROM : !strcmp(value, "eio") ? EIO_ONCE
             : !strcmp(value, "short") ? SHORT_ONCE : !strcmp(value, "delay") ? DELAY : NONE;
    if ((value = getenv("FAULT_LOG")))
        log_fd = real_open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int below(const char *path) {
    return dir_len && strncmp(path, dir, dir_len) == 0 && path[dir_len] == '/';
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    return below(path);
}

/* Counts a call on a path below the folder, and says what becomes of it. */
static enum verdict judge(const char *call, const char *path) {
    enum verdict verdict = GO;
    pthread_mutex_lock(&lock);
    if (!armed && (!arm[0] || !access(arm, F_OK))) armed = 1;
    if (armed) {
        calls++;
        int hit = fail_at && calls == fail_at;
        if (kind == ENOSPC_FROM && fail_at && calls > fail_at) verdict = FAIL;
        else if (hit && kind == EIO_ONCE) verdict = FAIL;
        else if (hit && (kind == ENOSPC_FROM || kind == SHORT_ONCE)) verdict = HALF;
        if (log_fd >= 0) {
            char line[PATH_MAX + 64];
            int len = snprintf(line, sizeof line, "%llu %s %s%s\n", (unsigned long long)calls, call,
                               path + dir_len + 1, hit ? " *" : "");
            if (len > 0) real_write(log_fd, line, (size_t)len);
        }
    }
    pthread_mutex_unlock(&lock);
    if (kind == DELAY && strstr(call, "sync")) usleep((useconds_t)(delay_ms * 1000));
    return verdict;
}

static int refuse(void) {
    errno = kind == ENOSPC_FROM ? ENOSPC : EIO;
    return -1;
}

/* A full disk does not refuse what needs no room; a short write is only a write's. */
static int fails(enum verdict verdict, int needs_room) {
    if (verdict == GO || kind == SHORT_ONCE) return 0;
    return kind == EIO_ONCE || needs_room;
}

/* A write within a file's length is whole or not at all: it needs no room, or that of a copied page. */
static int grows(int fd, off_t end) {
    struct stat st;
    return kind == SHORT_ONCE || (!fstat(fd, &st) && end > st.st_size);
}

static int watched(int fd, char *path) {
    struct stat st;
    return dir_len && !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) && path_of(fd, path);
}

ssize_t write(int fd, const void *buf, size_t count) {
    char path[PATH_MAX];
    if (fd <= 2 || !watched(fd, path)) return real_write(fd, buf, count);
    enum verdict verdict = judge("write", path);
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (verdict == HALF && count > 1 && grows(fd, at + (off_t)count)) return real_write(fd, buf, count / 2);
    return fails(verdict, 1) ? refuse() : real_write(fd, buf, count);
}

ssize_t pwrite64(int fd, const void *buf, size_t count, off_t at) {
    char path[PATH_MAX];
    if (!watched(fd, path)) return real_pwrite(fd, buf, count, at);
    enum verdict verdict = judge("write", path);
    if (verdict == HALF && count > 1 && grows(fd, at + (off_t)count)) return real_pwrite(fd, buf, count / 2, at);
    return fails(verdict, 1) ? refuse() : real_pwrite(fd, buf, count, at);
}
ssize_t pwrite(int fd, const void *buf, size_t count, off_t at) { return pwrite64(fd, buf, count, at); }

static int sync_of(int fd, const char *call, int (*sync)(int)) {
    char path[PATH_MAX];
    /* Delayed allocation: a full disk may show only when pages are written back. */
    if (watched(fd, path) && fails(judge(call, path), 1)) return refuse();
    return sync(fd);
}
int fsync(int fd) { return sync_of(fd, "fsync", real_fsync); }
int fdatasync(int fd) { return sync_of(fd, "fdatasync", real_fdatasync); }

int ftruncate64(int fd, off_t len) {
    char path[PATH_MAX];
    if (watched(fd, path) && fails(judge("truncate", path), 0)) return refuse();
    return real_ftruncate(fd, len);
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int rename(const char *from, const char *to) {
    if (below(to) && fails(judge("rename", to), 0)) return refuse();
    return real_rename(from, to);
}

int unlink(const char *path) {
    if (below(path) && fails(judge("unlink", path), 0)) return refuse();
    return real_unlink(path);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (below(to) && fails(judge("link", to), 1)) return refuse();
    return real_linkat(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    if (below(path) && fails(judge("mkdir", path), 1)) return refuse();
    return real_mkdir(path, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    if ((flags & O_CREAT) && below(path) && access(path, F_OK) && fails(judge("create", path), 1))
        return refuse();
    return real_open(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    return open64(path, flags, mode);
}
