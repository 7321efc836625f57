// SPDX-License-Identifier: GPL-2.0
/* An upstream that costs next to nothing: whoever asks for nNUMBER.anything
 * gets the one address 198.18.0.0 + NUMBER (RFC 2544: a /15, so from 131,072 on
 * they come round), whatever was asked.
 *
 *   upstream FD TTL       FD is a UDP socket that was bound for it
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	BATCH = 64,
	LONGEST = 512,
	RECORD = 16,
	NETWORK = 198 << 24 | 18 << 16,
	ADDRESSES = 1 << 17,
};

static unsigned char wires[BATCH][LONGEST + RECORD];
static struct sockaddr_in peers[BATCH];

/* The reply's length; 0 where there is nothing to say */
static unsigned int answer(unsigned char *wire, unsigned int length, uint32_t ttl)
{
	static const unsigned char head[] = { 0x81, 0x80, 0, 1, 0, 1,
					      0, 0, 0, 0 };
	unsigned char record[RECORD] = { 0xc0, 12, 0, 1, 0, 1 };
	unsigned int end = 12, number = 0, i;

	if (length < 17)
		return 0;
	for (i = 0; i < wire[12]; i++)
		if (wire[13 + i] >= '0' && wire[13 + i] <= '9')
			number = 10 * number + wire[13 + i] - '0';
	while (end < length && wire[end])
		end += 1 + wire[end];
	end += 5;
	if (end > length)
		return 0;
	ttl = htonl(ttl);
	number = htonl(NETWORK + number % ADDRESSES);
	memcpy(record + 6, &ttl, 4);
	record[11] = 4;
	memcpy(record + 12, &number, 4);
	memcpy(wire + 2, head, sizeof(head));
	memcpy(wire + end, record, RECORD);
	return end + RECORD;
}

int main(int argc, char **argv)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	int fd, got, i, n;
	uint32_t ttl;

	if (argc != 3)
		return 2;
	fd = atoi(argv[1]);
	ttl = strtoul(argv[2], NULL, 10);
	for (;;) {
		for (i = 0; i < BATCH; i++) {
			parts[i] = (struct iovec){ wires[i], LONGEST };
			messages[i].msg_hdr = (struct msghdr){
				.msg_name = &peers[i],
				.msg_namelen = sizeof(peers[i]),
				.msg_iov = &parts[i],
				.msg_iovlen = 1,
			};
		}
		got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		for (i = n = 0; i < got; i++) {
			parts[n].iov_len = answer(wires[i], messages[i].msg_len,
						  ttl);
			parts[n].iov_base = wires[i];
			messages[n].msg_hdr.msg_name = &peers[i];
			if (parts[n].iov_len)
				n++;
		}
		for (i = 0; i < n; i += got)
			if ((got = sendmmsg(fd, messages + i, n - i, 0)) <= 0)
				break;
	}
}
