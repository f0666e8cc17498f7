/* The answer: recorded by the handler (rs_send), handed to libmicrohttpd when the fiber has ended, or - where libmicrohttpd cannot
 * answer any more - written to the socket as it is.
 *
 * Invariant: the body of a queued answer lies in the request's arena, which lives until libmicrohttpd's completed callback; nothing
 * is copied a second time. */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>

#include "http/internal.h"

#define PARTS_JOINED ((size_t)32768) /* up to here parts are joined: one piece costs libmicrohttpd one call less */

enum { PIECES = 32 }; /* of an answer in parts */

static const char exposed[] = "etag, x-request-id, mcp-session-id, www-authenticate, retry-after, ratelimit, ratelimit-policy, "
			      "link, idempotency-replayed, "
			      "content-location, x-cenote-trace, x-pagination-total, x-pagination-next";

void rs_header(struct http_req *rq, const char *name, struct str value)
{
	struct rs_head *h;

	assert(!memchr(value.p ? value.p : "", '\r', value.n) && !memchr(value.p ? value.p : "", '\n', value.n));
	h = ARENA_NEW(&rq->arena, struct rs_head);
	if (!h)
		return;
	h->name = name;
	h->value = arena_cstr(&rq->arena, value);
	if (!h->value)
		return;
	h->next = rq->heads;
	rq->heads = h;
}

void rs_send(struct http_req *rq, int status, const char *content_type, struct str body)
{
	if (rq->answered) {
		LOG(LOG_ERROR, "http", "a handler answered twice", LF_STR("request_id", rq->id));
		return;
	}
	rq->answered = true;
	rq->status = status;
	rq->type = content_type;
	if (body.n && !arena_has(&rq->arena, body)) {
		body = arena_str(&rq->arena, body);
		if (!body.p) {
			rq->status = 500;
			rq->type = "application/problem+json";
			body = STR("{\"type\":\"urn:cenote:problem:internal\",\"title\":\"Internal error\",\"status\":500,"
				   "\"detail\":\"the answer is larger than a request may hold\"}");
		}
	}
	rq->out = body;
}

void rs_json(struct http_req *rq, int status, struct str body)
{
	rs_send(rq, status, "application/json", body);
}

/* libmicrohttpd copies the list of pieces into the connection's pool, which is small, and 0.9.75 ends the process when there is no
 * room: so there are few. Whatever is less than one of PIECES equal parts of the whole is joined with its neighbours. .p NULL:
 * memory is short. */
static struct str *few_pieces(struct http_req *rq, const struct str *parts, size_t n, size_t total, size_t *out_n)
{
	struct str *v = ARENA_ARRAY(&rq->arena, struct str, 2 * PIECES + 2);
	size_t least = total / PIECES, small = 0, k = 0;
	char *p;
	bool run = false;

	for (size_t i = 0; i < n; i++)
		small += parts[i].n <= least ? parts[i].n : 0;
	p = arena_alloc(&rq->arena, small);
	if (!v || !p)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (parts[i].n > least) {
			v[k++] = parts[i];
			run = false;
		} else if (parts[i].n) {
			if (!run)
				v[k++] = str_of(p, 0);
			memcpy(p, parts[i].p, parts[i].n);
			p += parts[i].n;
			v[k - 1].n += parts[i].n;
			run = true;
		}
	}
	*out_n = k;
	return v;
}

void rs_parts(struct http_req *rq, int status, const char *content_type, const struct str *parts, size_t n)
{
	size_t total = 0;
	struct buf b;

	for (size_t i = 0; i < n; i++)
		total += parts[i].n;
	if (total > PARTS_JOINED) {
		struct str *few = few_pieces(rq, parts, n, total, &n);

		if (!few) {
			rs_error(rq, E_NOMEM);
			return;
		}
		rs_send(rq, status, content_type, STR(""));
		rq->parts = few;
		rq->parts_n = n;
		return;
	}
	buf_init(&b, &rq->arena, total + 1);
	(void)buf_room(&b, total);
	for (size_t i = 0; i < n; i++)
		buf_str(&b, parts[i]);
	if (b.err != OK)
		rs_error(rq, b.err);
	else
		rs_send(rq, status, content_type, buf_slice(&b));
}

void rs_empty(struct http_req *rq, int status)
{
	rs_send(rq, status, NULL, STR(""));
}

static bool add_headers(struct http_req *rq, struct MHD_Response *r)
{
	bool ok = true;

	if (rq->type)
		ok = MHD_add_response_header(r, "Content-Type", rq->type) == MHD_YES;
	ok = ok && MHD_add_response_header(r, "X-Request-Id", rq->id.p) == MHD_YES;
	if (rq->close || rq->server->draining)
		ok = ok && MHD_add_response_header(r, "Connection", "close") == MHD_YES;
	for (const struct rs_head *h = rq->heads; h; h = h->next)
		ok = ok && MHD_add_response_header(r, h->name, h->value) == MHD_YES;
	if (rq->cors) {
		const char *origin = arena_cstr(&rq->arena, rq->known[H_ORIGIN]);

		ok = ok && origin && MHD_add_response_header(r, "Access-Control-Allow-Origin", origin) == MHD_YES &&
		     MHD_add_response_header(r, "Access-Control-Expose-Headers", exposed) == MHD_YES;
	}
	/* Caches must not give one origin's answer to another. */
	if (rq->cors || (rq->server->opt.cors_origins_n && rq->known_n[H_ORIGIN]))
		ok = ok && MHD_add_response_header(r, "Vary", "Origin") == MHD_YES;
	return ok;
}

enum MHD_Result response_hand_over(struct http_req *rq, struct MHD_Response *r)
{
	enum MHD_Result ret = add_headers(rq, r) ? MHD_queue_response(rq->conn->mhd, (unsigned)rq->status, r) : MHD_NO;

	rq->phase = RQ_QUEUED;
	conn_state(rq->conn, CONN_SENDING);
	return ret;
}

static struct MHD_Response *response_of_parts(struct http_req *rq)
{
	struct MHD_IoVec *iov = ARENA_ARRAY(&rq->arena, struct MHD_IoVec, rq->parts_n + 1);
	unsigned n = 0;

	if (!iov || rq->parts_n > UINT_MAX)
		return NULL;
	for (size_t i = 0; i < rq->parts_n; i++) {
		if (rq->parts[i].n == 0)
			continue;
		iov[n++] = (struct MHD_IoVec){rq->parts[i].p, rq->parts[i].n};
		rq->sent += rq->parts[i].n;
	}
	return MHD_create_response_from_iovec(iov, n, NULL, NULL);
}

enum MHD_Result response_queue(struct http_req *rq)
{
	struct MHD_Response *r;
	enum MHD_Result ret;

	if (rq->silent)
		return MHD_NO;
	if (rq->stream)
		return stream_queue(rq);
	if (rq->parts) {
		r = response_of_parts(rq);
	} else {
		r = MHD_create_response_from_buffer(rq->out.n, (void *)(uintptr_t)(rq->out.n ? rq->out.p : ""),
						    MHD_RESPMEM_PERSISTENT);
		rq->sent = rq->out.n;
	}
	if (!r)
		return MHD_NO;
	if (rq->is_head)
		rq->sent = 0;
	ret = response_hand_over(rq, r);
	MHD_destroy_response(r);
	return ret;
}

/* ------------------------------------------------------------ raw answers */

static void send_all(int fd, const char *p, size_t n)
{
	/* Once, without waiting: an answer of this size fits into the socket's buffer, or the client has not read for a long time.
	 */
	ssize_t unused = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)unused;
}

static void raw(int fd, int status, const char *type, struct str body, struct str id, unsigned retry_after_s)
{
	char text[8192], retry[40] = "";
	int n;

	if (retry_after_s)
		snprintf(retry, sizeof retry, "Retry-After: %u\r\n", retry_after_s);
	n = snprintf(text, sizeof text,
		     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nX-Request-Id: %.*s\r\n%sConnection: close\r\nContent-Length: "
		     "%zu\r\n\r\n%.*s",
		     status, problem_kind(status)->title, type, STR_ARG(id), retry, body.n, STR_ARG(body));
	if (n > 0 && (size_t)n < sizeof text)
		send_all(fd, text, (size_t)n);
}

void response_raw_fd(int fd, int status, const char *detail, unsigned retry_after_s)
{
	const struct problem_kind *k = problem_kind(status);
	char body[512], id[UUID_TEXT + 1];
	int n;

	uuid7_new(id);
	n = snprintf(body, sizeof body,
		     "{\"type\":\"urn:cenote:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\",\"request_id\":\"%s\"}",
		     k->slug, k->title, status, detail, id);
	if (n > 0 && (size_t)n < sizeof body)
		raw(fd, status, "application/problem+json", str_of(body, (size_t)n), str_c(id), retry_after_s);
}

void response_raw(struct http_conn *c, struct http_req *rq, int status, const char *detail)
{
	if (c->answered)
		return;
	c->answered = true;
	c->linger = true;
	if (!rq || !rq->id.n || rq->answered) {
		response_raw_fd(c->fd, status, detail, 0);
	} else {
		(void)err_set(E_INVALID, "%s", detail);
		rs_fail(rq, status);
		raw(c->fd, status, rq->type, rq->out, rq->id, 0);
		rq->sent = rq->out.n;
	}
	if (rq) {
		rq->answered = true;
		rq->status = status;
	}
}
