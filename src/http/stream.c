/* Answers piece by piece: the handler's fiber puts pieces into a ring, libmicrohttpd's callback takes them out. Whichever side has
 * nothing to do is suspended: the connection when the ring is empty, the fiber when it is full.
 *
 * Invariants
 *  1. hungry implies that the connection is suspended in libmicrohttpd (and n = 0 when it became so).
 *  2. writer_waits implies that the fiber is inside event_wait; whoever clears it sets the event, exactly once.
 *  3. When libmicrohttpd lets go of the request (conn NULL), a waiting writer is woken; it gets E_CANCELLED. */
#include <stdlib.h>

#include "http/internal.h"

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
		size_t part = STREAM_ROOM - st->head;

		part = part > st->n ? st->n : part;
		part = part > max - n ? max - n : part;
		memcpy(out + n, st->ring + st->head, part);
		st->head = (st->head + part) % STREAM_ROOM;
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

enum MHD_Result stream_queue(struct http_req *rq)
{
	struct MHD_Response *r;
	enum MHD_Result ret;

	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, take, rq, NULL);
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
		st->ring = malloc(STREAM_ROOM);
	if (!st || !st->ring) {
		free(st);
		return err_set(E_LIMIT, "out of memory for a streamed answer");
	}
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

enum err rs_write(struct http_req *rq, struct str piece)
{
	struct stream *st = rq->stream;

	if (!st || st->ended || st->aborted)
		return err_set(E_INTERNAL, "rs_write outside rs_begin and rs_end");
	while (piece.n) {
		size_t at, part;

		if (!rq->conn || fiber_cancelled())
			return err_set(E_CANCELLED, "the client has gone");
		if (st->n == STREAM_ROOM) {
			if (clock_mono_ns() > fiber_deadline())
				return err_set(E_TIMEOUT, "the client reads too slowly");
			event_init(&st->room);
			st->writer_waits = true;
			event_wait(&st->room);
			continue;
		}
		at = (st->head + st->n) % STREAM_ROOM;
		part = at < st->head ? st->head - at : STREAM_ROOM - at;
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
