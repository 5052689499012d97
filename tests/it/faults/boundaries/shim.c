/* Kills the process at its N-th I/O boundary: before it changes a regular file or
 * sends on a TCP socket for the N-th time since it was armed. Loaded with
 * LD_PRELOAD.
 *
 *   BOUNDARY_NTH     the number of the boundary, from 1
 *   BOUNDARY_ARMED   armed from the start; otherwise SIGUSR2 arms
 *   BOUNDARY_TORN    do half of the write before the kill
 *   BOUNDARY_REPORT  file for the lines "armed" and "<operation> <file>"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_bool armed;
static atomic_long passed;
static long nth;
static int torn;
static const char *report;

static void write_report(const char *line, size_t length) {
  if (!report) return;
  int fd = syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_APPEND, 0600);
  syscall(SYS_write, fd, line, length);
  syscall(SYS_close, fd);
}

static void arm(int signal) {
  (void)signal;
  atomic_store(&armed, 1);
  write_report("armed\n", 6);
}

__attribute__((constructor)) static void prepare(void) {
  const char *text = getenv("BOUNDARY_NTH");
  nth = text ? atol(text) : 0;
  torn = getenv("BOUNDARY_TORN") != NULL;
  report = getenv("BOUNDARY_REPORT");
  struct sigaction action = {.sa_handler = arm, .sa_flags = SA_RESTART};
  sigaction(SIGUSR2, &action, NULL);
  if (getenv("BOUNDARY_ARMED")) atomic_store(&armed, 1);
}

static void *next(void **known, const char *name) {
  if (!*known) *known = dlsym(RTLD_NEXT, name);
  return *known;
}
#define NEXT(result, name, ...)            \
  static void *known;                      \
  result (*real)(__VA_ARGS__) = next(&known, #name)

static int is_file(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static int is_connection(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  return getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
         (address.ss_family == AF_INET || address.ss_family == AF_INET6);
}

/* Returns 1 at the N-th boundary. Later ones block until the kill. */
static int reached(void) {
  if (!atomic_load(&armed)) return 0;
  long number = atomic_fetch_add(&passed, 1) + 1;
  while (number > nth) pause();
  return number == nth;
}

static void die(const char *operation, const char *path) {
  char line[512];
  const char *name = strrchr(path, '/');
  write_report(line, snprintf(line, sizeof line, "%s %s\n", operation, name ? name + 1 : path));
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

static void die_at(const char *operation, int fd) {
  char link[64], path[256] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  die(operation, is_connection(fd) ? "connection" : path);
}

#define BOUNDARY(counts, operation, half) \
  if ((counts) && reached()) {            \
    if (torn) (void)!(half);              \
    die_at(operation, fd);                \
  }

ssize_t write(int fd, const void *bytes, size_t count) {
  NEXT(ssize_t, write, int, const void *, size_t);
  BOUNDARY(is_file(fd) || is_connection(fd), "write", real(fd, bytes, count / 2));
  return real(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  NEXT(ssize_t, pwrite64, int, const void *, size_t, off64_t);
  BOUNDARY(is_file(fd), "write", real(fd, bytes, count / 2, offset));
  return real(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  return pwrite64(fd, bytes, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  NEXT(ssize_t, writev, int, const struct iovec *, int);
  BOUNDARY(is_file(fd) || is_connection(fd), "write", real(fd, parts, count / 2));
  return real(fd, parts, count);
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
  NEXT(ssize_t, send, int, const void *, size_t, int);
  BOUNDARY(is_connection(fd), "write", real(fd, bytes, count / 2, flags));
  return real(fd, bytes, count, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  NEXT(ssize_t, sendmsg, int, const struct msghdr *, int);
  BOUNDARY(is_connection(fd), "write", 0);
  return real(fd, message, flags);
}

int fsync(int fd) {
  NEXT(int, fsync, int);
  BOUNDARY(1, "sync", 0);
  return real(fd);
}

int fdatasync(int fd) {
  NEXT(int, fdatasync, int);
  BOUNDARY(1, "sync", 0);
  return real(fd);
}

int ftruncate64(int fd, off64_t length) {
  NEXT(int, ftruncate64, int, off64_t);
  BOUNDARY(is_file(fd), "truncate", 0);
  return real(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
  NEXT(int, unlink, const char *);
  if (reached()) die("unlink", path);
  return real(path);
}

int rename(const char *from, const char *to) {
  NEXT(int, rename, const char *, const char *);
  if (reached()) die("rename", to);
  return real(from, to);
}
