/* Answers piece by piece: the handler's fiber puts pieces into a ring, libmicrohttpd's callback takes them out. Whichever side has
 * nothing to do is suspended: the connection when the ring is empty, the fiber when it is full.
 *
 * Invariants
 *  1. hungry implies that the connection is suspended in libmicrohttpd (and n = 0 when it became so).
 *  2. writer_waits implies that the fiber is inside event_wait; whoever clears it sets the event, exactly once.
 *  3. When libmicrohttpd lets go of the request (conn NULL), a waiting writer is woken; it gets E_CANCELLED. */
#include <stdlib.h>

#include "http/internal.h"

/* What is handed over at a time, for which each stream has memory of its own: of events there may be thousands at a time. */
#define BLOCK 16384
#define BLOCK_OF_EVENTS 1024

static void wake_writer(struct stream *st)
{
	if (st->writer_waits) {
		st->writer_waits = false;
		event_set(&st->room);
	}
}

static ssize_t take(void *cls, uint64_t pos, char *out, size_t max)
{
	struct http_req *rq = cls;
	struct stream *st = rq->stream;
	size_t n = 0;

	(void)pos;
	if (st->aborted)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	while (st->n && n < max) {
		size_t part = st->size - st->head;

		part = part > st->n ? st->n : part;
		part = part > max - n ? max - n : part;
		memcpy(out + n, st->ring + st->head, part);
		st->head = (st->head + part) % st->size;
		st->n -= part;
		n += part;
	}
	if (n) {
		rq->sent += n;
		wake_writer(st);
		return (ssize_t)n;
	}
	if (st->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	st->hungry = true;
	rq->suspended = true;
	MHD_suspend_connection(rq->conn->mhd);
	return 0;
}

static bool of_events(const struct http_req *rq)
{
	return rq->type && strncmp(rq->type, "text/event-stream", 17) == 0;
}

enum MHD_Result stream_queue(struct http_req *rq)
{
	struct MHD_Response *r;
	enum MHD_Result ret;

	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, of_events(rq) ? BLOCK_OF_EVENTS : BLOCK, take, rq, NULL);
	if (!r)
		return MHD_NO;
	ret = response_hand_over(rq, r);
	MHD_destroy_response(r);
	return ret;
}

void stream_closed(struct http_req *rq)
{
	if (rq->stream)
		wake_writer(rq->stream);
}

void stream_release(struct http_req *rq)
{
	if (!rq->stream)
		return;
	free(rq->stream->ring);
	free(rq->stream);
	rq->stream = NULL;
}

static void feed(struct http_req *rq)
{
	/* Before the answer is queued the connection may be suspended for the handler's sake: then resuming it is what queues. */
	if (rq->suspended)
		request_ready(rq);
}

enum err rs_begin(struct http_req *rq, int status, const char *content_type)
{
	struct stream *st;

	if (rq->answered)
		return err_set(E_INTERNAL, "the request has been answered already");
	st = calloc(1, sizeof *st);
	if (st)
		st->ring = malloc(STREAM_ROOM_FIRST);
	if (!st || !st->ring) {
		free(st);
		return err_set(E_LIMIT, "out of memory for a streamed answer");
	}
	st->size = STREAM_ROOM_FIRST;
	rq->stream = st;
	rq->answered = true;
	rq->status = status;
	rq->type = content_type;
	feed(rq);
	return OK;
}

/* The time for an answer is for each piece of a stream: a large export may take as long as its reader likes, as long as he reads.
 */
static void more_time(const struct http_req *rq)
{
	request_time(rq, clock_mono_ns());
}

/* False: it is as large as it may be, or there is no memory; then the writer waits for room. */
static bool widen(struct stream *st, size_t want)
{
	size_t size = st->size, part = st->size - st->head;
	char *ring;

	while (size < STREAM_ROOM && size - st->n < want)
		size *= 2;
	if (size == st->size || !(ring = malloc(size)))
		return false;
	part = part > st->n ? st->n : part;
	memcpy(ring, st->ring + st->head, part);
	memcpy(ring + part, st->ring, st->n - part);
	free(st->ring);
	st->ring = ring;
	st->size = size;
	st->head = 0;
	return true;
}

enum err rs_write(struct http_req *rq, struct str piece)
{
	struct stream *st = rq->stream;

	if (!st || st->ended || st->aborted)
		return err_set(E_INTERNAL, "rs_write outside rs_begin and rs_end");
	while (piece.n) {
		size_t at, part;

		if (!rq->conn || fiber_cancelled())
			return err_set(E_CANCELLED, "the client has gone");
		if (st->n == st->size && !widen(st, piece.n)) {
			if (clock_mono_ns() > fiber_deadline())
				return err_set(E_TIMEOUT, "the client reads too slowly");
			event_init(&st->room);
			st->writer_waits = true;
			event_wait(&st->room);
			continue;
		}
		at = (st->head + st->n) % st->size;
		part = at < st->head ? st->head - at : st->size - at;
		part = part > piece.n ? piece.n : part;
		memcpy(st->ring + at, piece.p, part);
		st->n += part;
		piece = str_sub(piece, part, piece.n);
		feed(rq);
		more_time(rq);
	}
	return OK;
}

void rs_end(struct http_req *rq)
{
	if (!rq->stream || rq->stream->ended)
		return;
	rq->stream->ended = true;
	if (rq->conn)
		feed(rq);
}

void rs_abort(struct http_req *rq)
{
	if (!rq->stream || rq->stream->ended)
		return;
	rq->stream->aborted = true;
	if (rq->conn)
		feed(rq);
}
