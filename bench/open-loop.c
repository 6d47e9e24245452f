/*
 * Open-loop load: requests are due at fixed times whether or not earlier ones were answered, and each is timed from the
 * moment it was due. A generator that waits for answers would stop asking exactly while the server is slow, and not see it.
 *
 *   open-loop PORT RATE SECONDS CONNECTIONS PATH [HEADER]
 *
 * Prints one JSON object; times in microseconds. Answers need a Content-Length.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct connection {
  int fd;
  int64_t due; /* when the running request should have been sent; 0: idle */
  size_t used;
  size_t wanted; /* bytes of head and body; 0: the head is not complete */
  char buffer[16384];
};

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: open-loop PORT RATE SECONDS CONNECTIONS PATH [HEADER]\n");
    return 2;
  }
  int port = atoi(argv[1]), connections = atoi(argv[4]);
  double rate = atof(argv[2]), seconds = atof(argv[3]);
  int64_t total = (int64_t)(rate * seconds), sent = 0, done = 0, failed = 0;
  int64_t *latency = malloc(sizeof(int64_t) * (size_t)(total + 1));
  struct connection *all = calloc((size_t)connections, sizeof(struct connection));
  struct connection **idle = malloc(sizeof(void *) * (size_t)connections);
  int idle_count = 0;
  char request[4096];
  int request_size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s\r\n", argv[5], port,
                              argc > 6 ? argv[6] : "", argc > 6 ? "\r\n" : "");
  int poll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poll, EPOLL_CTL_ADD, timer, &tick);
  for (int i = 0; i < connections; i++) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(all[i].fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event readable = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &readable);
    idle[idle_count++] = &all[i];
  }
  int64_t start = now_ns() + 10000000, limit = start + (int64_t)((seconds + 5) * 1e9);
  while (done < total && now_ns() < limit) {
    int64_t now = now_ns();
    while (sent < total && idle_count > 0) {
      int64_t due = start + (int64_t)((double)sent * 1e9 / rate);
      if (due > now) break;
      struct connection *c = idle[--idle_count];
      c->due = due;
      c->used = c->wanted = 0;
      if (write(c->fd, request, (size_t)request_size) != request_size) fail("write");
      sent++;
    }
    if (sent < total && idle_count > 0) {
      int64_t due = start + (int64_t)((double)sent * 1e9 / rate);
      struct itimerspec at = {.it_value = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000}};
      timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    }
    struct epoll_event events[128];
    int count = epoll_wait(poll, events, 128, 100);
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].data.ptr;
      if (c == NULL) {
        uint64_t expirations;
        if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer");
        continue;
      }
      ssize_t size = read(c->fd, c->buffer + c->used, sizeof c->buffer - 1 - c->used);
      if (size <= 0 || c->due == 0) {
        fprintf(stderr, "connection lost\n");
        return 1;
      }
      c->used += (size_t)size;
      c->buffer[c->used] = 0;
      if (c->wanted == 0) {
        char *end = strstr(c->buffer, "\r\n\r\n");
        if (end == NULL) continue;
        char *length = strcasestr(c->buffer, "\r\ncontent-length:");
        if (length == NULL || length > end) {
          fprintf(stderr, "answer without Content-Length\n");
          return 1;
        }
        c->wanted = (size_t)(end + 4 - c->buffer) + (size_t)atol(length + 17);
        if (strncmp(c->buffer, "HTTP/1.1 2", 10) != 0) failed++;
      }
      if (c->used >= c->wanted) {
        latency[done] = now_ns() - c->due;
        done++;
        c->due = 0;
        idle[idle_count++] = c;
      }
    }
  }
  int64_t measured = done;
  if (measured == 0) return 1;
  qsort(latency, (size_t)measured, sizeof(int64_t), by_value);
#define AT(p) ((double)latency[(int64_t)((double)(measured - 1) * (p))] / 1000.0)
  printf("{\"answered\":%ld,\"failed\":%ld,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}\n", (long)done,
         (long)failed, AT(0.5), AT(0.9), AT(0.99), AT(0.999), AT(1.0));
  return 0;
}
