/*
 * A layer between a program and its files, for `tests/every_write.rs`; loaded with LD_PRELOAD.
 *
 * It does everything that changes a file below one directory one at a time, writes each change into a trace in
 * the order in which the system saw it, and lets the n-th fail on demand. It deliberately does not know what the
 * files mean, nor what a power cut leaves of them: that is made of the trace later.
 *
 *   EVERY_WRITE_ROOT    the directory, absolute, without symbolic links
 *   EVERY_WRITE_TRACE   the file that the trace is written to
 *   EVERY_WRITE_PLAN    which change fails: "number:errno:once" or "number:errno:on" (that one and all after it), or
 *                       "number:errno:hush": syncs from that one on fail and say that they have not
 *   EVERY_WRITE_LIFT    a file elsewhere; when it is there the plan is over: for those who cannot speak to the layer
 *   EVERY_WRITE_TALK    if set, the first bytes that go to each socket are put into the trace as well
 *
 * The program can speak to the layer by opening files that do not exist: ROOT/.told/TEXT puts TEXT into the
 * trace, ROOT/.plan/PLAN sets the plan with numbers counted from now on, ROOT/.plan/none takes it back.
 *
 * A way to change a file that is not modelled here ends the program: nothing gets past unseen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 4096
#define PATH_BYTES 1024
#define TALK_BYTES 2048
#define MAGIC 0x52574556u

enum kind {
    OPENED = 1, CLOSED, DUPLICATED, WROTE, SET_LEN, SYNCED, RANGE_SYNCED, RENAMED, UNLINKED, DIR_MADE, DIR_REMOVED,
    LINKED, TOLD, SAID
};

struct __attribute__((packed)) head {
    uint32_t magic;
    uint8_t kind, counted;
    uint16_t path, path2;
    int32_t fd, error;
    uint32_t number;
    uint64_t offset, len;
};

struct tracked {
    int used, append;
    dev_t dev;
    ino_t ino;
    char path[PATH_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tracked files[FILES_MAX];
static char root[PATH_BYTES];
static size_t root_len;
static int trace = -1, talk, plan_on, plan_errno, plan_hush;
static uint32_t counted, plan_at;
static const char *lift;

static void give_up(const char *what)
{
    char text[256];
    int n = snprintf(text, sizeof text, "the file layer does not model %s\n", what);
    syscall(SYS_write, 2, text, n);
    abort();
}

static void set_plan(const char *plan, uint32_t from)
{
    unsigned at;
    int error;
    char manner[8];
    plan_at = 0;
    if (sscanf(plan, "%u:%d:%7s", &at, &error, manner) == 3) {
        plan_at = from + at;
        plan_errno = error;
        plan_hush = strcmp(manner, "hush") == 0;
        plan_on = plan_hush || strcmp(manner, "on") == 0;
    }
}

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("EVERY_WRITE_ROOT"), *to = getenv("EVERY_WRITE_TRACE"), *plan = getenv("EVERY_WRITE_PLAN");
    if (!dir || !to || strlen(dir) >= PATH_BYTES)
        return;
    strcpy(root, dir);
    trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0)
        give_up("a trace that cannot be written");
    /* Out of the way of the program's own descriptors. */
    int high = syscall(SYS_fcntl, trace, F_DUPFD_CLOEXEC, 900);
    if (high >= 0) {
        syscall(SYS_close, trace);
        trace = high;
    }
    talk = getenv("EVERY_WRITE_TALK") != NULL;
    lift = getenv("EVERY_WRITE_LIFT");
    root_len = strlen(root);
    if (plan)
        set_plan(plan, 0);
}

/* The path below the root; NULL if it is elsewhere. */
static const char *inside(const char *path)
{
    if (!root_len || strncmp(path, root, root_len) != 0 || (path[root_len] != '/' && path[root_len] != 0))
        return NULL;
    return path[root_len] ? path + root_len + 1 : path + root_len;
}

static struct tracked *known(int fd)
{
    struct stat now;
    if (!root_len || fd < 0 || fd >= FILES_MAX || !files[fd].used)
        return NULL;
    /* The C library closes some descriptors of its own behind our back. */
    if (syscall(SYS_fstat, fd, &now) != 0 || now.st_dev != files[fd].dev || now.st_ino != files[fd].ino) {
        files[fd].used = 0;
        return NULL;
    }
    return &files[fd];
}

/* The whole path of `path` as seen from `dir`; NULL if it is not below the root. */
static const char *whole(int dir, const char *path, char *room)
{
    if (!root_len || !path)
        return NULL;
    if (path[0] == '/')
        return inside(path);
    if (dir == AT_FDCWD)
        return NULL;
    struct tracked *at = known(dir);
    if (!at)
        return NULL;
    int n = snprintf(room, PATH_BYTES, at->path[0] ? "%s/%s" : "%s%s", at->path, path);
    if (n >= PATH_BYTES)
        give_up("a path of that length");
    return room;
}

static void put(enum kind kind, int is_counted, int fd, int error, uint64_t offset, uint64_t len, const char *path,
                const char *path2, const void *bytes)
{
    struct head head = {
        .magic = MAGIC, .kind = kind, .counted = is_counted, .path = path ? strlen(path) : 0,
        .path2 = path2 ? strlen(path2) : 0, .fd = fd, .error = error, .number = counted, .offset = offset, .len = len,
    };
    struct iovec parts[4] = {
        {&head, sizeof head}, {(void *)path, head.path}, {(void *)path2, head.path2}, {(void *)bytes, bytes ? len : 0},
    };
    ssize_t all = sizeof head + head.path + head.path2 + (bytes ? len : 0);
    if (syscall(SYS_writev, trace, parts, 4) != all)
        give_up("a trace that cannot be written");
}

enum room { TAKES_ROOM, TAKES_NONE };

/* Whether what comes now is to fail. */
static int is_planned(void)
{
    if (!plan_at || (plan_on ? counted < plan_at : counted != plan_at))
        return 0;
    if (lift && syscall(SYS_faccessat, AT_FDCWD, lift, F_OK) == 0)
        plan_at = 0;
    return plan_at != 0;
}

/* Counts a sync; not zero = the errno with which it fails. */
static int strike_sync(enum room room)
{
    counted++;
    if (!is_planned())
        return 0;
    return plan_errno == ENOSPC && room == TAKES_NONE ? 0 : plan_errno;
}

/* Counts any other change: no failure of those is hushed up. */
static int strike(enum room room)
{
    int error = strike_sync(room);
    return plan_hush ? 0 : error;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

/* --- opening ----------------------------------------------------------------------------------------------- */

static int message(const char *path)
{
    if (strncmp(path, ".told/", 6) == 0) {
        put(TOLD, 0, -1, 0, 0, 0, path + 6, NULL, NULL);
        return 1;
    }
    if (strncmp(path, ".plan/", 6) == 0) {
        set_plan(path + 6, counted);
        return 1;
    }
    return 0;
}

static int open_inside(int dir, const char *path, const char *name, int flags, mode_t mode)
{
    struct stat was;
    int there = syscall(SYS_newfstatat, dir, path, &was, 0) == 0;
    int makes = !there && (flags & O_CREAT), writes = (flags & O_ACCMODE) != O_RDONLY;
    int empties = there && writes && (flags & O_TRUNC) && S_ISREG(was.st_mode) && was.st_size > 0;
    if (there && (flags & O_CREAT) && (flags & O_EXCL))
        return fail(EEXIST);
    int is_counted = makes || empties, error = 0;
    if (is_counted)
        error = strike(makes ? TAKES_ROOM : TAKES_NONE);
    else if (writes && plan_on && plan_errno == EROFS && is_planned())
        error = EROFS;
    int fd = error ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd < 0) {
        if (!error)
            error = errno;
        if (is_counted)
            put(OPENED, 1, -1, error, 0, 0, name, NULL, NULL);
        return fail(error);
    }
    if (fd >= FILES_MAX || syscall(SYS_fstat, fd, &was) != 0 || strlen(name) >= PATH_BYTES)
        give_up("so many open files");
    struct tracked *file = &files[fd];
    *file = (struct tracked){.used = 1, .append = (flags & O_APPEND) != 0, .dev = was.st_dev, .ino = was.st_ino};
    strcpy(file->path, name);
    put(OPENED, is_counted, fd, 0, (makes ? 1 : 0) | (empties ? 2 : 0), 0, name, NULL, NULL);
    return fd;
}

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
    char room[PATH_BYTES];
    pthread_mutex_lock(&lock);
    const char *name = (flags & O_TMPFILE) == O_TMPFILE ? NULL : whole(dir, path, room);
    int fd;
    if (!name)
        fd = syscall(SYS_openat, dir, path, flags, mode);
    else if (message(name))
        fd = fail(ENOENT);
    else
        fd = open_inside(dir, path, name, flags, mode);
    int error = errno;
    if (!name && fd >= 0 && fd < FILES_MAX)
        files[fd].used = 0;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE_OF(flags, mode)                             \
    mode_t mode = 0;                                     \
    if ((flags) & (O_CREAT | O_TMPFILE)) {               \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        mode = va_arg(rest, mode_t);                     \
        va_end(rest);                                    \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags, mode) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags, mode) return open_any(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE_OF(flags, mode) return open_any(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE_OF(flags, mode) return open_any(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (fd == trace && trace >= 0) { /* somebody closes everything: not us */
        pthread_mutex_unlock(&lock);
        return fail(EBADF);
    }
    if (known(fd)) {
        put(CLOSED, 0, fd, 0, 0, 0, NULL, NULL, NULL);
        files[fd].used = 0;
    }
    int done = syscall(SYS_close, fd);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static void duplicated(int from, int to)
{
    if (to < 0 || to >= FILES_MAX)
        return;
    files[to].used = 0;
    if (known(from)) {
        files[to] = files[from];
        put(DUPLICATED, 0, to, 0, from, 0, NULL, NULL, NULL);
    }
}

int dup(int fd)
{
    pthread_mutex_lock(&lock);
    int to = syscall(SYS_dup, fd), error = errno;
    duplicated(fd, to);
    pthread_mutex_unlock(&lock);
    errno = error;
    return to;
}

int dup3(int fd, int to, int flags)
{
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_dup3, fd, to, flags), error = errno;
    duplicated(fd, done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int dup2(int fd, int to) { return fd == to ? to : dup3(fd, to, 0); }

static int control(int fd, int command, void *argument)
{
    if (command != F_DUPFD && command != F_DUPFD_CLOEXEC)
        return syscall(SYS_fcntl, fd, command, argument);
    pthread_mutex_lock(&lock);
    int to = syscall(SYS_fcntl, fd, command, argument), error = errno;
    duplicated(fd, to);
    pthread_mutex_unlock(&lock);
    errno = error;
    return to;
}

#define ARGUMENT_OF(last, argument)     \
    va_list rest;                       \
    va_start(rest, last);               \
    void *argument = va_arg(rest, void *); \
    va_end(rest);

int fcntl(int fd, int command, ...) { ARGUMENT_OF(command, argument) return control(fd, command, argument); }
int fcntl64(int fd, int command, ...) { ARGUMENT_OF(command, argument) return control(fd, command, argument); }

/* --- data --------------------------------------------------------------------------------------------------- */

static void say(int fd, const struct iovec *parts, int count)
{
    struct stat what;
    char words[TALK_BYTES];
    size_t len = 0;
    if (!talk || syscall(SYS_fstat, fd, &what) != 0 || !S_ISSOCK(what.st_mode))
        return;
    for (int n = 0; n < count && len < sizeof words; n++) {
        size_t room = sizeof words - len, part = parts[n].iov_len < room ? parts[n].iov_len : room;
        memcpy(words + len, parts[n].iov_base, part);
        len += part;
    }
    pthread_mutex_lock(&lock);
    put(SAID, 0, fd, 0, 0, len, NULL, NULL, words);
    pthread_mutex_unlock(&lock);
}

static ssize_t write_inside(struct tracked *file, int fd, const void *bytes, size_t len, int64_t offset)
{
    int own_place = offset < 0;
    if (own_place) {
        struct stat now;
        syscall(SYS_fstat, fd, &now);
        offset = file->append ? now.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
    }
    int error = strike(TAKES_ROOM);
    /* Some of it gets through: a disk fails in the middle, and is full in the middle. */
    size_t part = !error ? len : error == EROFS ? 0 : len / 2;
    if (error == ENOSPC && plan_on && counted > plan_at)
        part = 0;
    ssize_t done = part == 0 ? 0
                   : own_place ? syscall(SYS_write, fd, bytes, part)
                               : syscall(SYS_pwrite64, fd, bytes, part, offset);
    if (done < 0)
        give_up("a disk that fails by itself");
    put(WROTE, 1, fd, error, offset, done, NULL, NULL, bytes);
    if (error == ENOSPC && plan_on && done > 0)
        return done; /* a short write; the next one says why */
    return error ? fail(error) : done;
}

static ssize_t write_any(int fd, const void *bytes, size_t len, int64_t offset)
{
    pthread_mutex_lock(&lock);
    struct tracked *file = known(fd);
    if (!file) {
        pthread_mutex_unlock(&lock);
        say(fd, &(struct iovec){(void *)bytes, len}, 1);
        return offset < 0 ? syscall(SYS_write, fd, bytes, len) : syscall(SYS_pwrite64, fd, bytes, len, offset);
    }
    ssize_t done = write_inside(file, fd, bytes, len, offset);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t len) { return write_any(fd, bytes, len, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return write_any(fd, bytes, len, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) { return write_any(fd, bytes, len, at); }

static ssize_t write_parts(int fd, const struct iovec *parts, int count, int64_t offset)
{
    pthread_mutex_lock(&lock);
    struct tracked *file = known(fd);
    pthread_mutex_unlock(&lock);
    if (!file) {
        say(fd, parts, count);
        return offset < 0 ? syscall(SYS_writev, fd, parts, count)
                          : syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L);
    }
    size_t len = 0, at = 0;
    for (int n = 0; n < count; n++)
        len += parts[n].iov_len;
    char *all = malloc(len ? len : 1);
    for (int n = 0; n < count; at += parts[n].iov_len, n++)
        memcpy(all + at, parts[n].iov_base, parts[n].iov_len);
    ssize_t done = write_any(fd, all, len, offset);
    int error = errno;
    free(all);
    errno = error;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return write_parts(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return write_parts(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return write_parts(fd, parts, count, at); }

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    say(fd, &(struct iovec){(void *)bytes, len}, 1);
    return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    say(fd, message->msg_iov, message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

static int set_len(int fd, off64_t len)
{
    pthread_mutex_lock(&lock);
    int done, error = 0;
    if (known(fd)) {
        struct stat now;
        syscall(SYS_fstat, fd, &now);
        error = strike(len > now.st_size ? TAKES_ROOM : TAKES_NONE);
        done = error ? fail(error) : (int)syscall(SYS_ftruncate, fd, len);
        put(SET_LEN, 1, fd, error, len, 0, NULL, NULL, NULL);
    } else {
        done = syscall(SYS_ftruncate, fd, len);
        error = errno;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate(int fd, off_t len) { return set_len(fd, len); }
int ftruncate64(int fd, off64_t len) { return set_len(fd, len); }

/* --- syncs -------------------------------------------------------------------------------------------------- */

static int sync_any(int fd, enum kind kind, long number, off64_t offset, off64_t len, unsigned flags)
{
    pthread_mutex_lock(&lock);
    int error = 0, is_ours = known(fd) != NULL;
    if (is_ours)
        error = strike_sync(TAKES_ROOM);
    int done = error ? (plan_hush ? 0 : fail(error))
               : kind == RANGE_SYNCED ? (int)syscall(number, fd, offset, len, flags)
                                      : (int)syscall(number, fd);
    int said = errno;
    if (is_ours)
        put(kind, 1, fd, error, offset, len, NULL, NULL, NULL);
    pthread_mutex_unlock(&lock);
    errno = said;
    return done;
}

int fsync(int fd) { return sync_any(fd, SYNCED, SYS_fsync, 0, 0, 0); }
int fdatasync(int fd) { return sync_any(fd, SYNCED, SYS_fdatasync, 0, 0, 0); }
int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    return sync_any(fd, RANGE_SYNCED, SYS_sync_file_range, offset, len, flags);
}

/* --- names -------------------------------------------------------------------------------------------------- */

static int rename_any(int dir, const char *from, int dir2, const char *to, unsigned flags)
{
    char room[PATH_BYTES], room2[PATH_BYTES];
    pthread_mutex_lock(&lock);
    const char *name = whole(dir, from, room), *name2 = whole(dir2, to, room2);
    if ((name || name2) && (!name || !name2 || flags))
        give_up("a rename across its border, or with flags");
    int error = name ? strike(TAKES_ROOM) : 0;
    int done = error ? fail(error) : (int)syscall(SYS_renameat2, dir, from, dir2, to, flags);
    int said = errno;
    if (name)
        put(RENAMED, 1, -1, done ? said : 0, 0, 0, name, name2, NULL);
    pthread_mutex_unlock(&lock);
    errno = said;
    return done;
}

int rename(const char *from, const char *to) { return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int dir, const char *from, int dir2, const char *to) { return rename_any(dir, from, dir2, to, 0); }
int renameat2(int dir, const char *from, int dir2, const char *to, unsigned f) { return rename_any(dir, from, dir2, to, f); }

static int unlink_any(int dir, const char *path, int flags)
{
    char room[PATH_BYTES];
    struct stat was;
    pthread_mutex_lock(&lock);
    const char *name = whole(dir, path, room);
    /* What is not there is not removed: no change, nothing that could fail. */
    int is_ours = name && syscall(SYS_newfstatat, dir, path, &was, AT_SYMLINK_NOFOLLOW) == 0;
    int error = is_ours ? strike(TAKES_NONE) : 0;
    int done = error ? fail(error) : (int)syscall(SYS_unlinkat, dir, path, flags);
    int said = errno;
    if (is_ours)
        put(flags & AT_REMOVEDIR ? DIR_REMOVED : UNLINKED, 1, -1, done ? said : 0, 0, 0, name, NULL, NULL);
    pthread_mutex_unlock(&lock);
    errno = said;
    return done;
}

int unlink(const char *path) { return unlink_any(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlink_any(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) { return unlink_any(dir, path, flags); }
int remove(const char *path) { return unlink(path) == 0 ? 0 : errno == EISDIR ? rmdir(path) : -1; }

static int make_dir(int dir, const char *path, mode_t mode)
{
    char room[PATH_BYTES];
    struct stat was;
    pthread_mutex_lock(&lock);
    const char *name = whole(dir, path, room);
    int is_ours = name && syscall(SYS_newfstatat, dir, path, &was, 0) != 0;
    int error = is_ours ? strike(TAKES_ROOM) : 0;
    int done = error ? fail(error) : (int)syscall(SYS_mkdirat, dir, path, mode);
    int said = errno;
    if (is_ours)
        put(DIR_MADE, 1, -1, done ? said : 0, 0, 0, name, NULL, NULL);
    pthread_mutex_unlock(&lock);
    errno = said;
    return done;
}

int mkdir(const char *path, mode_t mode) { return make_dir(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return make_dir(dir, path, mode); }

static int link_any(int dir, const char *from, int dir2, const char *to, int flags)
{
    char room[PATH_BYTES], room2[PATH_BYTES];
    pthread_mutex_lock(&lock);
    const char *name = whole(dir, from, room), *name2 = whole(dir2, to, room2);
    if ((name || name2) && (!name || !name2))
        give_up("a link across its border");
    int error = name ? strike(TAKES_ROOM) : 0;
    int done = error ? fail(error) : (int)syscall(SYS_linkat, dir, from, dir2, to, flags);
    int said = errno;
    if (name)
        put(LINKED, 1, -1, done ? said : 0, 0, 0, name, name2, NULL);
    pthread_mutex_unlock(&lock);
    errno = said;
    return done;
}

int link(const char *from, const char *to) { return link_any(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int dir, const char *from, int dir2, const char *to, int flags) { return link_any(dir, from, dir2, to, flags); }

/* --- what is not modelled ----------------------------------------------------------------------------------- */

static void refuse(int fd, const char *what)
{
    pthread_mutex_lock(&lock);
    if (known(fd))
        give_up(what);
    pthread_mutex_unlock(&lock);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    refuse(fd, "fallocate");
    return syscall(SYS_fallocate, fd, mode, at, len);
}
int fallocate64(int fd, int mode, off64_t at, off64_t len) { return fallocate(fd, mode, at, len); }
int posix_fallocate(int fd, off_t at, off_t len) { return fallocate(fd, 0, at, len) ? errno : 0; }
int posix_fallocate64(int fd, off64_t at, off64_t len) { return posix_fallocate(fd, at, len); }

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *at2, size_t len, unsigned flags)
{
    refuse(to, "copy_file_range");
    return syscall(SYS_copy_file_range, from, at, to, at2, len, flags);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t len)
{
    refuse(to, "sendfile");
    return syscall(SYS_sendfile, to, from, at, len);
}
ssize_t sendfile(int to, int from, off_t *at, size_t len) { return sendfile64(to, from, at, len); }

ssize_t splice(int from, off64_t *at, int to, off64_t *at2, size_t len, unsigned flags)
{
    refuse(to, "splice");
    return syscall(SYS_splice, from, at, to, at2, len, flags);
}

void *mmap(void *where, size_t len, int protection, int flags, int fd, off_t at)
{
    if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE))
        refuse(fd, "a shared mapping");
    return (void *)syscall(SYS_mmap, where, len, protection, flags, fd, at);
}
void *mmap64(void *where, size_t len, int protection, int flags, int fd, off64_t at)
{
    return mmap(where, len, protection, flags, fd, at);
}

int truncate(const char *path, off_t len)
{
    if (inside(path))
        give_up("truncate by name");
    return syscall(SYS_truncate, path, len);
}
int truncate64(const char *path, off64_t len) { return truncate(path, len); }

int symlink(const char *what, const char *path)
{
    if (inside(path))
        give_up("a symbolic link");
    return syscall(SYS_symlinkat, what, AT_FDCWD, path);
}
