// SPDX-License-Identifier: GPL-2.0
/* A DNS client that costs less than what it measures. Python's own cost would
 * hide an answer of three microseconds, and dnsperf is the bottleneck above
 * 150,000 queries a second.
 *
 *   load one   ADDRESS PORT FILE SECONDS          ask, wait, ask
 *   load flood ADDRESS PORT FILE SECONDS WINDOW   as many as WINDOW allows
 *   load paced ADDRESS PORT FILE SECONDS RATE     RATE a second, come what may
 *   load reach ADDRESS PORT FILE SECONDS TCPPORT  ask, then connect to the answer
 *
 * FILE holds queries, each behind its length in two octets (big endian, as in
 * DNS over TCP); they are sent in turn, with ids of our own. Every reply is
 * compared: id, QR, the question as it was sent, the rcode and the number of
 * answers of the first reply to that question. One line of JSON comes out;
 * times are nanoseconds of CLOCK_MONOTONIC. SKIP (environment) passes over as
 * many queries of the file; ONCE stops at its end; RAW names a file for every
 * time on its own: when it began and how long it took, eight octets each (of
 * a paced query that was never answered all ones).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 64,
	LONGEST = 1500,
	IDS = 65536,
	PATIENCE = 200,		/* ms without a reply: the rest is lost */
	LATE_NS = 2000000000,	/* a paced query is lost after this */
};

struct question {
	const unsigned char *wire;
	unsigned int length;
	int said;		/* rcode and answers of the first reply; -1 */
};

static struct question *asked;
static unsigned int questions, next_question, once;
static unsigned int of_id[IDS];		/* question + 1, 0: nothing in flight */
static uint64_t sent_at[IDS];
static unsigned int next_id, in_flight;
static unsigned long sent, good, bad, lost;
static uint64_t *times, *begins;
static size_t timed, room;
static int fd;
static volatile sig_atomic_t stopped;	/* SIGTERM ends a paced run */

static unsigned char out[BATCH][LONGEST], in[BATCH][LONGEST];
static struct mmsghdr out_msgs[BATCH], in_msgs[BATCH];
static struct iovec out_iov[BATCH], in_iov[BATCH];

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void read_questions(const char *path)
{
	unsigned char *all, *p, *end;
	FILE *file = fopen(path, "rb");
	unsigned int most = 0;
	long size;

	if (!file || fseek(file, 0, SEEK_END))
		die(path);
	size = ftell(file);
	if (size <= 0)
		die(path);
	rewind(file);
	all = malloc(size);
	if (!all || fread(all, 1, size, file) != (size_t)size)
		die(path);
	fclose(file);
	for (p = all, end = all + size; p + 2 < end;
	     p += 2 + (p[0] << 8 | p[1]))
		most++;
	asked = calloc(most, sizeof(*asked));
	if (!asked)
		die("memory");
	for (p = all; questions < most; p += 2 + (p[0] << 8 | p[1])) {
		asked[questions].wire = p + 2;
		asked[questions].length = p[0] << 8 | p[1];
		asked[questions++].said = -1;
	}
}

static void note(uint64_t took, uint64_t began)
{
	if (timed == room) {
		room = room ? 2 * room : 1 << 20;
		times = realloc(times, room * sizeof(*times));
		begins = realloc(begins, room * sizeof(*begins));
		if (!times || !begins)
			die("memory");
	}
	begins[timed] = began;
	times[timed++] = took;
}

/* Whether there was one more to ask; it stands in out[slot] then */
static int put(unsigned int slot)
{
	struct question *q;
	unsigned int id;

	if (next_question == questions) {
		if (once)
			return 0;
		next_question = 0;
	}
	q = &asked[next_question];
	do
		id = next_id++ % IDS;
	while (of_id[id]);
	memcpy(out[slot], q->wire, q->length);
	out[slot][0] = id >> 8;
	out[slot][1] = id;
	out_iov[slot].iov_len = q->length;
	of_id[id] = ++next_question;
	return 1;
}

static unsigned int id_of(const unsigned char *wire)
{
	return wire[0] << 8 | wire[1];
}

static void sent_now(unsigned int slot, uint64_t at)
{
	sent_at[id_of(out[slot])] = at;
	in_flight++;
	sent++;
}

/* Not sent: the id and the question are free again */
static void unsent(unsigned int slot)
{
	next_question = of_id[id_of(out[slot])] - 1;
	of_id[id_of(out[slot])] = 0;
}

static void hear(const unsigned char *reply, unsigned int length, uint64_t at)
{
	unsigned int id = id_of(reply), end = 12;
	struct question *q;
	int said;

	if (length < 17 || !of_id[id]) {
		bad++;		/* of a query that we gave up, or of nobody */
		return;
	}
	q = &asked[of_id[id] - 1];
	while (end < q->length && q->wire[end])
		end += 1 + q->wire[end];
	end += 5;
	said = (reply[3] & 15) << 16 | reply[6] << 8 | reply[7];
	if (q->said < 0)
		q->said = said;
	if (!(reply[2] & 0x80) || length < end || said != q->said ||
	    memcmp(reply + 12, q->wire + 12, end - 12))
		bad++;
	else
		good++;
	note(at - sent_at[id], sent_at[id]);
	of_id[id] = 0;
	in_flight--;
}

static unsigned int hear_all(int wait)
{
	unsigned int i;
	uint64_t at;
	int got;

	got = recvmmsg(fd, in_msgs, BATCH, wait ? MSG_WAITFORONE : MSG_DONTWAIT,
		       NULL);
	if (got <= 0)
		return 0;
	at = now();
	for (i = 0; i < (unsigned int)got; i++)
		hear(in[i], in_msgs[i].msg_len, at);
	return got;
}

static void give_up(void)
{
	lost += in_flight;
	in_flight = 0;
	memset(of_id, 0, sizeof(of_id));
}

static void run_one(uint64_t until)
{
	uint64_t start;
	ssize_t got;

	while (now() < until && put(0)) {
		start = now();
		if (send(fd, out[0], out_iov[0].iov_len, 0) < 0)
			die("send");
		sent_now(0, start);
		while (in_flight) {
			got = recv(fd, in[0], LONGEST, 0);
			if (got < 0)
				give_up();
			else
				hear(in[0], got, now());
		}
	}
}

static void run_flood(uint64_t until, unsigned int window)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	unsigned int i, n, more = 1;
	uint64_t at;
	int done;

	while (more || in_flight) {
		more = more && now() < until;
		for (n = 0; more && n < BATCH && in_flight + n < window; n++)
			if (!put(n)) {
				more = 0;
				break;
			}
		if (n) {
			at = now();
			done = sendmmsg(fd, out_msgs, n, 0);
			for (i = n; i-- > (unsigned int)(done < 0 ? 0 : done);)
				unsent(i);
			for (i = 0; (int)i < done; i++)
				sent_now(i, at);
		}
		if (hear_all(0))
			continue;
		if (in_flight && poll(&ready, 1, PATIENCE) == 0)
			give_up();
	}
}

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static void run_paced(uint64_t until, double rate)
{
	double gap = 1e9 / rate, due = now();
	unsigned int id;
	uint64_t at;

	signal(SIGTERM, stop);
	while ((at = now()) < until && !stopped) {
		hear_all(0);
		if (at < due)
			continue;	/* busy: a sleep would be the latency */
		if (in_flight < IDS / 2 && put(0)) {
			if (send(fd, out[0], out_iov[0].iov_len, 0) < 0) {
				unsent(0);
				lost++;
			} else {
				/* since it was due: a late client must not
				 * make a slow server look good
				 */
				sent_now(0, due);
			}
		} else {
			lost++;
		}
		due += gap;
	}
	for (until = now() + LATE_NS / 10; in_flight && now() < until;)
		hear_all(0);
	for (id = 0; id < IDS && getenv("RAW"); id++)
		if (of_id[id])
			note(UINT64_MAX, sent_at[id]);
	give_up();
}

/* From the question until the connection stands, and away with it */
static void run_reach(uint64_t until, int port)
{
	struct linger gone = { .l_onoff = 1 };	/* no TIME_WAIT is left */
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	uint64_t start;
	ssize_t got;
	int tcp;

	while (now() < until && put(0)) {
		start = now();
		if (send(fd, out[0], out_iov[0].iov_len, 0) < 0)
			die("send");
		sent_now(0, start);
		got = recv(fd, in[0], LONGEST, 0);
		if (got < 0) {
			give_up();
			continue;
		}
		/* no OPT was asked for: the address is the last of the reply */
		memcpy(&to.sin_addr, in[0] + got - 4, 4);
		tcp = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(tcp, (struct sockaddr *)&to, sizeof(to)))
			die("connect to what was answered");
		hear(in[0], got, now());
		setsockopt(tcp, SOL_SOCKET, SO_LINGER, &gone, sizeof(gone));
		close(tcp);
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double quantile(double q)
{
	return timed ? times[(size_t)(q * (timed - 1))] : 0;
}

static void write_raw(const char *path)
{
	FILE *file = fopen(path, "wb");
	size_t i;

	if (!file)
		die(path);
	for (i = 0; i < timed; i++) {
		fwrite(&begins[i], sizeof(*begins), 1, file);
		fwrite(&times[i], sizeof(*times), 1, file);
	}
	if (fclose(file))
		die(path);
}

static void report(uint64_t took)
{
	const char *raw = getenv("RAW");

	if (raw)
		write_raw(raw);
	qsort(times, timed, sizeof(*times), by_size);
	printf("{\"seconds\": %.6f, \"sent\": %lu, \"good\": %lu, \"bad\": %lu, "
	       "\"lost\": %lu, \"qps\": %.1f, \"p50\": %.0f, \"p99\": %.0f, "
	       "\"p999\": %.0f}\n", took / 1e9, sent, good, bad, lost,
	       good * 1e9 / took, quantile(.5), quantile(.99), quantile(.999));
}

static void dial(const char *address, int port)
{
	struct timeval patience = { .tv_usec = PATIENCE * 1000 };
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int size = 8 << 20;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die(address);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
}

int main(int argc, char **argv)
{
	uint64_t start, until;
	const char *skip = getenv("SKIP");
	unsigned int i;

	if (argc < 6)
		return fprintf(stderr, "see the head of load.c\n"), 2;
	read_questions(argv[4]);
	next_question = skip ? strtoul(skip, NULL, 10) % questions : 0;
	once = getenv("ONCE") != NULL;
	for (i = 0; i < BATCH; i++) {
		out_iov[i].iov_base = out[i];
		in_iov[i] = (struct iovec){ in[i], LONGEST };
		out_msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &out_iov[i],
						       .msg_iovlen = 1 };
		in_msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &in_iov[i],
						      .msg_iovlen = 1 };
	}
	dial(argv[2], atoi(argv[3]));
	start = now();
	until = start + (uint64_t)(atof(argv[5]) * 1e9);
	if (!strcmp(argv[1], "one"))
		run_one(until);
	else if (argc > 6 && !strcmp(argv[1], "flood"))
		run_flood(until, atoi(argv[6]));
	else if (argc > 6 && !strcmp(argv[1], "paced"))
		run_paced(until, atof(argv[6]));
	else if (argc > 6 && !strcmp(argv[1], "reach"))
		run_reach(until, atoi(argv[6]));
	else
		return fprintf(stderr, "one, flood, paced or reach\n"), 2;
	report(now() - start);
	return 0;
}
