/* A disk that fails: one call of one process, chosen by file, kind of call and number, gets an error.
 *
 * Preloaded into a node by the tests. It counts the calls that change files below one folder (writes, truncations, syncs,
 * and the making, renaming, linking and removing of names) from the moment that the order file exists, for each file and
 * kind of call apart: calls on one file come from one thread in one order, whatever the other threads do meanwhile. A file
 * is named by the first part of its path below the folder: journal, archive, guard, …; a folder itself is "name/".
 * It plays no lost pages; powercut.c does.
 *
 *   FAULT_DIR   only files below this folder
 *   FAULT_ARM   the order file: "SERIAL FILE CALL NUMBER FAULT"; number 0 = count only. A new serial counts anew
 *   FAULT_LOG   each counted call adds a line "FILE CALL NUMBER PATH", an injected fault a line "! FILE CALL NUMBER FAULT"
 *
 *   enospc  the disk is full from this call on: of the first write, half still fits if it makes the file longer
 *   eio     this call fails with EIO, later ones do not
 *   short   this write writes half of its bytes, and says so
 */
#include "shim.h"

enum fault { NONE, ENOSPC_FROM, EIO_ONCE, SHORT_ONCE };
enum verdict { GO, FAIL, HALF };
/* How often a file met a kind of call. */
struct count { char file[64]; char call[16]; uint64_t calls; };

#define MAX_COUNTS 256
static struct count counts[MAX_COUNTS];
static char arm[PATH_MAX], order_file[64], order_call[16], order_fault[16];
static unsigned long long order_serial, order_number;
static enum fault fault;
static int armed, full, injected, log_fd = -1;

__attribute__((constructor)) static void init(void) {
    watch_below("FAULT_DIR");
    const char *value;
    if ((value = getenv("FAULT_ARM"))) snprintf(arm, sizeof arm, "%s", value);
    if ((value = getenv("FAULT_LOG")))
        log_fd = real_open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Reads the order. Without one the disk is whole. */
static void look_for_order(void) {
    char text[256], file[64], call[16], what[16];
    unsigned long long serial, number;
    int fd = real_open(arm, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[len > 0 ? len : 0] = 0;
    armed = sscanf(text, "%llu %63s %15s %llu %15s", &serial, file, call, &number, what) == 5;
    if (!armed || serial == order_serial) return;
    order_serial = serial; order_number = number;
    strcpy(order_file, file); strcpy(order_call, call); strcpy(order_fault, what);
    fault = !strcmp(what, "enospc") ? ENOSPC_FROM : !strcmp(what, "eio") ? EIO_ONCE
          : !strcmp(what, "short") ? SHORT_ONCE : NONE;
    full = injected = 0;
    memset(counts, 0, sizeof counts);
}

static void say(const char *line, int len) {
    if (log_fd >= 0 && len > 0) real_write(log_fd, line, (size_t)len);
}

static uint64_t counted(const char *file, const char *call) {
    for (struct count *c = counts; c < counts + MAX_COUNTS; c++) {
        if (!c->file[0]) { strcpy(c->file, file); strcpy(c->call, call); }
        if (!strcmp(c->file, file) && !strcmp(c->call, call)) return ++c->calls;
    }
    abort();
}

/* Counts a call on a path below the folder, and says what becomes of it. A full disk does not refuse what needs no room;
 * `whole`: of this write, no half fits either. */
static enum verdict judge(const char *call, const char *path, int needs_room, int whole) {
    enum verdict verdict = GO;
    pthread_mutex_lock(&lock);
    look_for_order();
    if (armed) {
        const char *rest = path[dir_len] ? path + dir_len + 1 : ".";
        const char *end = strchr(rest, '/');
        char file[64], line[PATH_MAX + 128];
        snprintf(file, sizeof file, "%.*s", (int)(end ? end - rest : (long)strlen(rest)), rest);
        struct stat st;
        if (!end && !stat(path, &st) && S_ISDIR(st.st_mode)) strncat(file, "/", sizeof file - strlen(file) - 1);
        uint64_t number = counted(file, call);
        int hit = order_number && number == order_number && !strcmp(file, order_file) && !strcmp(call, order_call);
        if (full) verdict = needs_room ? FAIL : GO;
        else if (hit && fault == EIO_ONCE) verdict = FAIL;
        else if (hit && fault == SHORT_ONCE && !strcmp(call, "write")) verdict = HALF;
        else if (hit && fault == ENOSPC_FROM && needs_room) {
            full = 1;
            verdict = !strcmp(call, "write") && !whole ? HALF : FAIL;
        }
        unsigned long long n = number;
        say(line, snprintf(line, sizeof line, "%s %s %llu %s\n", file, call, n, rest));
        if (verdict != GO && !injected) {
            injected = 1;
            say(line, snprintf(line, sizeof line, "! %s %s %llu %s\n", file, call, n, order_fault));
        }
    }
    pthread_mutex_unlock(&lock);
    return verdict;
}

static int refuse(void) {
    errno = fault == ENOSPC_FROM ? ENOSPC : EIO;
    return -1;
}

static int watched(int fd, char *path) {
    struct stat st;
    return dir_len && !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) && path_of(fd, path);
}

/* A write within a file's length is whole or not at all: it needs no room, or that of a copied page. */
static enum verdict judge_write(int fd, const char *path, size_t count, off_t at) {
    struct stat st;
    int grows = !fstat(fd, &st) && at + (off_t)count > st.st_size;
    enum verdict verdict = judge("write", path, 1, count < 2 || !grows);
    return verdict == HALF && count < 2 ? GO : verdict;
}

ssize_t write(int fd, const void *buf, size_t count) {
    char path[PATH_MAX];
    if (fd <= 2 || !watched(fd, path)) return real_write(fd, buf, count);
    enum verdict verdict = judge_write(fd, path, count, lseek(fd, 0, SEEK_CUR));
    if (verdict == FAIL) return refuse();
    return real_write(fd, buf, verdict == HALF ? count / 2 : count);
}

ssize_t pwrite64(int fd, const void *buf, size_t count, off_t at) {
    char path[PATH_MAX];
    if (!watched(fd, path)) return real_pwrite(fd, buf, count, at);
    enum verdict verdict = judge_write(fd, path, count, at);
    if (verdict == FAIL) return refuse();
    return real_pwrite(fd, buf, verdict == HALF ? count / 2 : count, at);
}

static int sync_of(int fd, const char *call, int (*sync)(int)) {
    char path[PATH_MAX];
    /* Delayed allocation: a full disk may show only when pages are written back. */
    if (watched(fd, path) && judge(call, path, 1, 1) == FAIL) return refuse();
    return sync(fd);
}
int fsync(int fd) { return sync_of(fd, "fsync", real_fsync); }
int fdatasync(int fd) { return sync_of(fd, "fdatasync", real_fdatasync); }

int ftruncate64(int fd, off_t len) {
    char path[PATH_MAX];
    if (watched(fd, path) && judge("truncate", path, 0, 1) == FAIL) return refuse();
    return real_ftruncate(fd, len);
}

int rename(const char *from, const char *to) {
    if (below(to) && judge("rename", to, 0, 1) == FAIL) return refuse();
    return real_rename(from, to);
}

int unlink(const char *path) {
    if (below(path) && judge("unlink", path, 0, 1) == FAIL) return refuse();
    return real_unlink(path);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (below(to) && judge("link", to, 1, 1) == FAIL) return refuse();
    return real_linkat(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    if (below(path) && judge("mkdir", path, 1, 1) == FAIL) return refuse();
    return real_mkdir(path, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    if ((flags & O_CREAT) && below(path) && access(path, F_OK) && judge("create", path, 1, 1) == FAIL)
        return refuse();
    return real_open(path, flags, mode);
}
