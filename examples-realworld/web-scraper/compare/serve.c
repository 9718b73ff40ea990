// The server that all sides talk to: one thread, so that the clients have the machine.
//
//   serve PORT_FILE LATENCY_MS
//
// Answers every GET with a page of 2 kB whose title is its path, LATENCY_MS after it came. Ends when
// nobody has asked for anything for a minute.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16384, ROOM = 4096, BODY = 2000, MINUTE = 60000 };

static struct { char text[ROOM]; int filled; } clients[MOST];

// Requests that wait for their time; the latency is the same for all, so the first is first.
static struct { int client; char path[64]; double due; } queue[1 << 16];
static unsigned first, last;

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void answer(int client, const char *path) {
    static char page[BODY + 256];
    char start[160];
    int length = snprintf(start, sizeof start,
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n<title>%s</title></head>", path);
    int head = snprintf(page, sizeof page,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n", BODY);
    memset(page + head, 'x', BODY);
    memcpy(page + head, start, length);
    // What does not fit into the socket's buffer at once is lost, and shows in the answers.
    if (write(client, page, head + BODY) < 0) perror("write");
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    double latency = atof(argv[2]), last_seen = now_ms();
    struct rlimit files = { MOST, MOST };
    setrlimit(RLIMIT_NOFILE, &files);

    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    // Renamed, so that whoever sees the file sees all of it.
    char unfinished[4096];
    snprintf(unfinished, sizeof unfinished, "%s.new", argv[1]);
    FILE *port = fopen(unfinished, "w");
    if (!port || fprintf(port, "%d\n", ntohs(address.sin_port)) < 0 || fclose(port)) return 1;
    if (rename(unfinished, argv[1])) return 1;

    struct epoll_event event = { .events = EPOLLIN, .data.fd = listener }, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        double now = now_ms();
        while (first != last && queue[first % (1 << 16)].due <= now) {
            answer(queue[first % (1 << 16)].client, queue[first % (1 << 16)].path);
            first++;
        }
        if (first == last && now - last_seen > MINUTE) return 0;
        int wait = first == last ? 1000 : (int)(queue[first % (1 << 16)].due - now) + 1;
        int n = epoll_wait(poll, events, 256, wait);
        now = now_ms();
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client;
                while ((client = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    if (client >= MOST) { close(client); continue; }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    clients[client].filled = 0;
                    event.data.fd = client;
                    epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
                }
                continue;
            }
            char *text = clients[fd].text;
            int got = read(fd, text + clients[fd].filled, ROOM - 1 - clients[fd].filled);
            if (got <= 0) { close(fd); continue; }
            last_seen = now;
            text[clients[fd].filled += got] = 0;
            if (!strstr(text, "\r\n\r\n")) continue;
            clients[fd].filled = 0;
            char path[64] = "/";
            sscanf(text, "GET %63s", path);
            if (latency <= 0) { answer(fd, path); continue; }
            unsigned slot = last++ % (1 << 16);
            queue[slot].client = fd;
            strcpy(queue[slot].path, path);
            queue[slot].due = now + latency;
        }
    }
}
