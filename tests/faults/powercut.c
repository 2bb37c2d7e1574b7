/* A power cut for one process: what was written and not synced may be lost, page by page.
 *
 * Preloaded into a node by the tests. It watches regular files below one folder. Before a write it keeps the old
 * contents of each 4 KiB page that the write touches; a successful fsync or fdatasync of that file forgets them. At
 * the N-th write it plays a disk that lost its power: each kept page goes back to its old contents with probability
 * 1/2, growth of a file since its last sync is cut off with probability 1/2 (to any page), a file made, renamed or
 * removed without a sync of its folder afterwards is undone with probability 1/2. Then the process is gone, as by kill -9.
 * SIGUSR1 does the same at once, at any time: so several processes lose their power together.
 *
 * sync_file_range makes nothing durable here: it flushes neither the file's length nor the disk's cache. What it does
 * not play: pages of a synced file that rot, and writes through memory maps (the node has none).
 *
 *   CUT_DIR    only files below this folder
 *   CUT_AFTER  number of writes to them after which the power goes; 0 = never
 *   CUT_SEED   seed of what is lost
 *   CUT_MARK   file that is made when it happens: who ended otherwise was not cut
 */
#include "shim.h"

#define PAGE 4096
/* Old contents of a file that was renamed over or removed are kept up to this size. */
#define MAX_KEPT (1 << 20)

struct page { off_t at; ssize_t len; unsigned char old[PAGE]; struct page *next; };
/* A file with writes since its last sync. */
struct file { dev_t dev; ino_t ino; off_t synced_len; char path[PATH_MAX]; struct page *pages; struct file *next; };
/* A folder's change that was not synced: `name` was made, or `old` was replaced or removed. */
struct entry { char name[PATH_MAX]; int had; size_t len; unsigned char *old; struct entry *next; };

static struct file *files;
static struct entry *entries;
static uint64_t writes, cut_after, seed;

static char mark[PATH_MAX];
static void *wait_for_cut(void *unused);

__attribute__((constructor)) static void init(void) {
    watch_below("CUT_DIR");
    const char *value;
    if ((value = getenv("CUT_MARK"))) {
        snprintf(mark, sizeof mark, "%s", value);
        /* Threads that come later inherit the mask: the signal is this one's alone. */
        sigset_t cut;
        sigemptyset(&cut);
        sigaddset(&cut, SIGUSR1);
        pthread_sigmask(SIG_BLOCK, &cut, NULL);
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_cut, NULL);
    }
    if ((value = getenv("CUT_AFTER"))) cut_after = strtoull(value, NULL, 10);
    if ((value = getenv("CUT_SEED"))) seed = strtoull(value, NULL, 10) * 2654435761u + 1;
}

static uint64_t draw(void) { /* xorshift64* */
    seed ^= seed >> 12; seed ^= seed << 25; seed ^= seed >> 27;
    return seed * 2685821657736338717ull >> 16;
}

/* The watched file behind a descriptor; with `make`, it begins to be watched. */
static struct file *file_of(int fd, int make) {
    struct stat st;
    if (!dir_len || fstat(fd, &st) || !S_ISREG(st.st_mode)) return NULL;
    for (struct file *f = files; f; f = f->next)
        if (f->dev == st.st_dev && f->ino == st.st_ino) return f;
    char path[PATH_MAX];
    if (!make || !path_of(fd, path)) return NULL;
    struct file *f = calloc(1, sizeof *f);
    f->dev = st.st_dev; f->ino = st.st_ino; f->synced_len = st.st_size;
    strcpy(f->path, path);
    f->next = files; files = f;
    return f;
}

static void keep_page(struct file *f, off_t at) {
    for (struct page *p = f->pages; p; p = p->next)
        if (p->at == at) return;
    struct page *p = calloc(1, sizeof *p);
    p->at = at;
    int fd = real_open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) { p->len = pread(fd, p->old, PAGE, at); close(fd); }
    p->next = f->pages; f->pages = p;
}

static void forget_pages(struct file *f) {
    while (f->pages) { struct page *p = f->pages; f->pages = p->next; free(p); }
    struct stat st;
    if (!stat(f->path, &st)) f->synced_len = st.st_size;
}

static void lose_file(struct file *f) {
    int fd = real_open(f->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    for (struct page *p = f->pages; p; p = p->next)
        if (p->len > 0 && draw() & 1) real_pwrite(fd, p->old, (size_t)p->len, p->at);
    struct stat st;
    if (!fstat(fd, &st) && st.st_size > f->synced_len && draw() & 1) {
        off_t first = f->synced_len, pages = (st.st_size - first) / PAGE + 1;
        off_t kept = first + (off_t)(draw() % (uint64_t)pages) * PAGE;
        real_ftruncate(fd, kept > st.st_size ? st.st_size : kept);
    } else if (!fstat(fd, &st) && st.st_size > f->synced_len) {
        /* The length reached the disk, but whole pages of the new data may not have. */
        static const unsigned char zero[PAGE];
        off_t at = (f->synced_len + PAGE - 1) / PAGE * PAGE;
        for (; at < st.st_size; at += PAGE)
            if (!(draw() % 4)) real_pwrite(fd, zero, (size_t)(st.st_size - at < PAGE ? st.st_size - at : PAGE), at);
    }
    real_fsync(fd);
    close(fd);
}

static void lose_entry(struct entry *e) {
    if (!(draw() & 1)) return;
    if (!e->had) { real_unlink(e->name); return; }
    int fd = real_open(e->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (e->len) real_write(fd, e->old, e->len);
    real_fsync(fd);
    close(fd);
}

static void lose_power(void) {
    for (struct file *f = files; f; f = f->next) lose_file(f);
    for (struct entry *e = entries; e; e = e->next) lose_entry(e);
    if (*mark) close(real_open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void count_write(void) {
    if (cut_after && ++writes >= cut_after) lose_power();
}

static void *wait_for_cut(void *unused) {
    sigset_t cut;
    int signal;
    sigemptyset(&cut);
    sigaddset(&cut, SIGUSR1);
    if (!sigwait(&cut, &signal)) {
        pthread_mutex_lock(&lock);
        lose_power();
    }
    return unused;
}

static void before_write(int fd, size_t count, off_t at) {
    struct file *f = file_of(fd, 1);
    if (!f) return;
    for (off_t page = at / PAGE * PAGE; page < at + (off_t)count; page += PAGE) keep_page(f, page);
    count_write();
}

ssize_t write(int fd, const void *buf, size_t count) {
    struct stat st;
    if (!dir_len || fstat(fd, &st) || !S_ISREG(st.st_mode)) return real_write(fd, buf, count);
    pthread_mutex_lock(&lock);
    int flags = fcntl(fd, F_GETFL);
    before_write(fd, count, flags & O_APPEND ? st.st_size : lseek(fd, 0, SEEK_CUR));
    ssize_t done = real_write(fd, buf, count);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *buf, size_t count, off_t at) {
    pthread_mutex_lock(&lock);
    before_write(fd, count, at);
    ssize_t done = real_pwrite(fd, buf, count, at);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int fd, off_t len) {
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd, 1);
    struct stat st;
    if (f && !fstat(fd, &st)) {
        for (off_t page = len / PAGE * PAGE; page < st.st_size; page += PAGE) keep_page(f, page);
        count_write();
    }
    int done = real_ftruncate(fd, len);
    pthread_mutex_unlock(&lock);
    return done;
}

static int synced(int fd, int (*sync)(int)) {
    pthread_mutex_lock(&lock);
    int done = sync(fd);
    struct stat st;
    char path[PATH_MAX];
    struct file *f = done ? NULL : file_of(fd, 0);
    if (f) forget_pages(f);
    else if (!done && dir_len && !fstat(fd, &st) && S_ISDIR(st.st_mode)) {
        path_of(fd, path);
        for (struct entry **at = &entries; *at;) {
            struct entry *e = *at;
            const char *slash = strrchr(e->name, '/');
            if ((size_t)(slash - e->name) == strlen(path) && !strncmp(e->name, path, strlen(path))) {
                *at = e->next; free(e->old); free(e);
            } else at = &e->next;
        }
    }
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

static void note_entry(const char *name, int had, const char *old_from) {
    char full[PATH_MAX];
    if (!realpath(name, full) || !below(full)) return;
    struct entry *e = calloc(1, sizeof *e);
    strcpy(e->name, full);
    e->had = had;
    int fd = had && old_from ? real_open(old_from, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        e->old = malloc(MAX_KEPT);
        ssize_t len = read(fd, e->old, MAX_KEPT);
        e->len = len > 0 ? (size_t)len : 0;
        close(fd);
    }
    e->next = entries; entries = e;
}

int rename(const char *from, const char *to) {
    if (!dir_len) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    struct stat st;
    int had = !stat(to, &st);
    if (had && S_ISREG(st.st_mode) && st.st_size <= MAX_KEPT) note_entry(to, 1, to);
    int done = real_rename(from, to);
    char full[PATH_MAX];
    if (!done && realpath(to, full)) {
        for (struct file *f = files; f; f = f->next)
            if (!stat(full, &st) && f->dev == st.st_dev && f->ino == st.st_ino) strcpy(f->path, full);
        if (!had && S_ISREG(st.st_mode)) note_entry(to, 0, NULL);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

/* A removed name may be there again; folders that are removed as a whole (unlinkat, rmdir) stay away. */
int unlink(const char *name) {
    if (!dir_len) return real_unlink(name);
    pthread_mutex_lock(&lock);
    struct stat st;
    if (!stat(name, &st) && S_ISREG(st.st_mode) && st.st_size <= MAX_KEPT) note_entry(name, 1, name);
    int done = real_unlink(name);
    pthread_mutex_unlock(&lock);
    return done;
}

static int opened(int fd, const char *name, int existed, int flags) {
    if (fd >= 0 && dir_len && (flags & O_CREAT) && !existed) note_entry(name, 0, NULL);
    return fd;
}

int open64(const char *name, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    pthread_mutex_lock(&lock);
    int existed = !access(name, F_OK);
    int fd = opened(real_open(name, flags, mode), name, existed, flags);
    pthread_mutex_unlock(&lock);
    return fd;
}
int openat64(int at, const char *name, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    if (at == AT_FDCWD || name[0] == '/') return open64(name, flags, mode);
    return real_openat(at, name, flags, mode);
}
int openat(int at, const char *name, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    return openat64(at, name, flags, mode);
}
