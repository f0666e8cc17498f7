/* What rebuilds delta channels: the writes since the nearest ancestor that stored a value, in one statement (contracts: langgraph
 * 3.9). The walk follows parents, each channel by itself, and ends where a value is, at the root, or where parents form a loop.
 *
 * A loop is found by a mark: the id met at the last depth that was a power of two. The walk has then been around at most twice;
 * what it met again is left out. (A list of what was visited would grow with the square of the depth.) */
#include "store/postgres/ckpt.h"

const struct pg_stmt pg_ckpt_walk = {
	ST_CKPT_HISTORY, LANE_SEARCH, "checkpoint_history",
	"WITH RECURSIVE walk AS (SELECT ch.channel, ch.ord, 0 AS depth, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint_id AS"
	" mark, false AS seeded, NULL::text AS stype, NULL::bytea AS sblob, NULL::jsonb AS sinline FROM @checkpoints c CROSS JOIN"
	" unnest($4::text[]) WITH ORDINALITY AS ch(channel, ord) WHERE c.thread_id = $1::text AND c.checkpoint_ns = $2::text AND"
	" c.checkpoint_id = coalesce(nullif($3::text, ''), (SELECT l.checkpoint_id FROM @checkpoints l WHERE l.thread_id = $1::text"
	" AND l.checkpoint_ns = $2::text ORDER BY l.checkpoint_id DESC LIMIT 1)) AND " PG_CP_SEEN(
		"$1::text",
		5) " UNION ALL SELECT w.channel, w.ord, w.depth + 1, p.checkpoint_id, p.parent_checkpoint_id, CASE WHEN (w.depth + "
		   "1) &"
		   " w.depth = 0 THEN p.checkpoint_id ELSE w.mark END, b.type IS NOT NULL OR coalesce(jsonb_typeof(v.inl), 'null') "
		   "<> 'null',"
		   " b.type, b.blob, v.inl FROM walk w"
		   " CROSS JOIN LATERAL (SELECT * FROM @checkpoints p WHERE p.thread_id = $1::text AND p.checkpoint_ns = $2::text "
		   "AND"
		   " p.checkpoint_id = w.parent_checkpoint_id LIMIT 1) p"
		   " CROSS JOIN LATERAL (SELECT p.checkpoint -> 'channel_versions' ->> w.channel AS ver, p.checkpoint -> "
		   "'channel_values' ->"
		   " w.channel AS inl) v LEFT JOIN LATERAL (SELECT b.type, b.blob FROM @checkpoint_blobs b WHERE b.thread_id = "
		   "$1::text AND"
		   " b.checkpoint_ns = $2::text AND b.channel = w.channel AND b.version = v.ver AND b.type <> 'empty' LIMIT 1) b "
		   "ON true"
		   " WHERE NOT w.seeded AND p.checkpoint_id <> w.mark),"
		   " once AS (SELECT w.*, row_number() OVER (PARTITION BY w.ord, w.checkpoint_id ORDER BY w.depth) AS visit FROM "
		   "walk w)"
		   " SELECT w.ord, w.seeded, w.stype, CASE WHEN cw.nth IS NULL OR cw.nth = 1 THEN w.sblob END, CASE WHEN w.stype "
		   "IS NULL THEN"
		   " w.sinline END, cw.task_id, cw.task_path, cw.idx, cw.type, cw.blob FROM once w"
		   " LEFT JOIN LATERAL (SELECT cw.*, row_number() OVER () AS nth FROM " PG_CP_PATH_ELSE
		   " CROSS JOIN LATERAL (SELECT task_id,"
		   " task_path, idx, type, blob FROM @checkpoint_writes WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND"
		   " checkpoint_id = w.checkpoint_id AND channel = w.channel) cw) cw ON true WHERE w.depth > 0 AND w.visit = 1"
		   " ORDER BY w.ord, w.depth DESC, cw.task_path COLLATE \"C\", cw.task_id COLLATE \"C\", cw.idx"};
enum { H_ORD, H_SEEDED, H_TYPE, H_BLOB, H_INLINE, H_TASK, H_PATH, H_IDX, H_WTYPE, H_WBLOB };

static enum err no_room(void)
{
	return err_set(E_LIMIT, "the history is too large for this request");
}

static enum err keep(struct arena *a, struct str s, struct str *out)
{
	*out = arena_str(a, s);
	return out->p ? OK : no_room();
}

/* The row has the seed: its inline value, or the type of the stored one and, on one of the rows, its bytes. */
static enum err take_seed(struct arena *a, const PGresult *r, int row, struct ckpt_history *h)
{
	h->seeded = true;
	h->seed.channel = h->channel;
	if (pg_is_null(r, row, H_TYPE))
		return h->seed.bytes.p ? OK : keep(a, pg_get_json(r, row, H_INLINE), &h->seed.bytes);
	if (!h->seed.type.p)
		TRY(keep(a, pg_get_str(r, row, H_TYPE), &h->seed.type));
	return pg_is_null(r, row, H_BLOB) ? OK : keep(a, pg_get_str(r, row, H_BLOB), &h->seed.bytes);
}

static enum err take_row(struct arena *a, const PGresult *r, int row, struct ckpt_history *h)
{
	if (pg_get_bool(r, row, H_SEEDED))
		TRY(take_seed(a, r, row, h));
	if (pg_is_null(r, row, H_TASK))
		return OK;
	struct ckpt_pending *w = &h->writes[h->writes_n++];
	*w = (struct ckpt_pending){.channel = h->channel, .idx = (int32_t)pg_get_i64(r, row, H_IDX)};
	TRY(keep(a, pg_get_str(r, row, H_TASK), &w->task_id));
	TRY(keep(a, pg_get_str(r, row, H_PATH), &w->task_path));
	TRY(keep(a, pg_get_str(r, row, H_WTYPE), &w->type));
	return keep(a, pg_get_str(r, row, H_WBLOB), &w->bytes);
}

static enum err take_rows(struct arena *a, const PGresult *r, struct ckpt_history *out, size_t n)
{
	for (int i = 0; i < PQntuples(r); i++)
		out[pg_get_i64(r, i, H_ORD) - 1].writes_n += !pg_is_null(r, i, H_TASK);
	for (size_t i = 0; i < n; i++) {
		out[i].writes = arena_alloc(a, (out[i].writes_n + 1) * sizeof *out[i].writes);
		if (!out[i].writes)
			return no_room();
		out[i].writes_n = 0;
	}
	for (int i = 0; i < PQntuples(r); i++)
		TRY(take_row(a, r, i, &out[pg_get_i64(r, i, H_ORD) - 1]));
	return OK;
}

enum err pg_ckpt_history(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			 struct ckpt_history *out, size_t n)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct ckpt_history){.channel = out[i].channel};
	TRY(pg_ckpt_open(s, who, RIGHT_READ, false, &t));
	if (!t || n == 0 || pg_ckpt_unknown(q->thread) || pg_ckpt_unknown(q->ns) || pg_ckpt_unknown(q->id) ||
	    pg_ckpt_unknown(who->user))
		return OK;
	for (size_t i = 0; i < n; i++)
		TRY(pg_ckpt_names(&out[i].channel, 1));
	pg_params_init(&p);
	pg_text(&p, q->thread);
	pg_text(&p, q->ns);
	pg_text(&p, q->id);
	pg_array(&p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(&p, out[i].channel);
	pg_array_end(&p);
	pg_owners(&p, who);
	TRY(pg_query(t, &pg_ckpt_walk, &p, &r));
	enum err e = take_rows(a, r, out, n);
	PQclear(r);
	return e;
}
