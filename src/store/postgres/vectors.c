/* Vectors of documents: kept, removed with what they belong to, counted, and walked through together with their documents.
 *
 * cenote_model gives a model's name a number; cenote_vector has one row per model, kind and document.
 *
 * Invariants
 *  1. A vector is written while its document's row is locked (FOR SHARE), and a model's row is (FOR KEY SHARE). Whoever removes
 *     documents, or takes their terms away, does so in one statement and removes their vectors in a later one of the same
 *     transaction (pg_vectors_gone), which reads from the journal what went: it sees every vector that was written before, and none
 *     can be written afterwards.
 *  2. Putting vectors never waits while it holds a lock on more than one document: those that somebody has locked are left, and
 * done alone afterwards. So writes of items and messages wait for it for one transaction at most, and no two wait for each other.
 *  3. No statement reads all of cenote_vector when it wants some of it: its rows are found by the index, one at a time (LATERAL
 * with a LIMIT), or by their places (ctid), which do not change while who could change them is locked out (1, 4).
 *  4. cenote_vector.stamp is the xmin of the document's row as it was when the terms were read that mark belongs to. A row that has
 *     been written since has another one. So the server itself can say which documents certainly have a current vector; the rest
 *     (few: those without one, those that changed, and those that were written again with the same text) is compared by mark.
 *  5. A model's row goes when its last vector was dropped, by who holds it alone (FOR UPDATE). */
#include "core/text_store.h"
#include "store/postgres/pg_feed.h"

#define PAGE 1000
#define MODELS_MAX 64
#define ROUNDS_MAX 3

/* $1 op, $2 model, $3 ids, $4 marks, $5 vectors, $6 stamps; gives the model's number (NULL: there is none) and the documents that
 * somebody has locked. */
#define PUT(kind, docs, names, columns, how)                                                                                       \
	"WITH m AS MATERIALIZED (SELECT id FROM @cenote_model WHERE name = $2::text FOR KEY SHARE),"                               \
	" l AS MATERIALIZED (SELECT c.id, v.mark, v.data, v.stamp, " names                                                         \
	" FROM unnest($3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[]) v(id, mark, data, stamp) JOIN " docs                  \
	" WHERE c.terms IS DISTINCT FROM '' AND EXISTS (SELECT FROM m) ORDER BY c.id FOR SHARE OF c" how "),"                      \
	" p AS (INSERT INTO @cenote_vector(model, kind, id, mark, data, stamp) SELECT m.id, '" kind                                \
	"', l.id, l.mark, l.data, l.stamp FROM l, m ORDER BY l.id ON CONFLICT (model, kind, id) DO UPDATE SET mark = "             \
	"excluded.mark,"                                                                                                           \
	" data = excluded.data, stamp = excluded.stamp)"                                                                           \
	" INSERT INTO @cenote_journal(op, step, kind, ids, names" columns ") SELECT $1::bigint, 0, '" kind                         \
	"', coalesce(array_agg(l.id ORDER BY l.id), '{}'), "
#define LEFT(table)                                                                                                                \
	" FROM l RETURNING (SELECT id FROM m), (SELECT array_agg(c.id) FROM unnest($3::bigint[]) v(id) JOIN " table                \
	" c ON c.id = v.id WHERE c.terms IS DISTINCT FROM '' AND NOT EXISTS (SELECT FROM l WHERE l.id = v.id))"
#define PUT_ITEMS(how)                                                                                                             \
	PUT("i", "@cenote_item c ON c.id = v.id", "c.prefix", "", how)                                                             \
	"coalesce(array_agg(l.prefix ORDER BY l.id), '{}')" LEFT("@cenote_item")
#define PUT_MESSAGES(how)                                                                                                          \
	PUT("m", "@cenote_message c ON c.id = v.id JOIN @cenote_thread t ON t.id = c.thread_id",                                   \
	    "t.usr::text AS usr, t.thread::text AS thread", ", threads", how)                                                      \
	"coalesce(array_agg(l.usr ORDER BY l.id), '{}'), coalesce(array_agg(l.thread ORDER BY l.id), '{}')" LEFT("@cenote_"        \
														 "message")
#define PUT_TEXTS(how)                                                                                                             \
	PUT("m", "@cenote_text c ON c.id = v.id", "c.usr::text AS usr, c.thread::text AS thread", ", threads", how)                \
	"coalesce(array_agg(l.usr ORDER BY l.id), '{}'), coalesce(array_agg(l.thread ORDER BY l.id), '{}')" LEFT("@cenote_text")
static const struct pg_stmt st_put[3][2] = {
	{{ST_VECTOR_ITEMS, LANE_WRITE, "vector_items", PUT_ITEMS(" SKIP LOCKED")},
	 {ST_VECTOR_ITEM, LANE_WRITE, "vector_item", PUT_ITEMS("")}},
	{{ST_VECTOR_MESSAGES, LANE_WRITE, "vector_messages", PUT_MESSAGES(" SKIP LOCKED")},
	 {ST_VECTOR_MESSAGE, LANE_WRITE, "vector_message", PUT_MESSAGES("")}},
	{{ST_VECTOR_TEXTS, LANE_WRITE, "vector_texts", PUT_TEXTS(" SKIP LOCKED")},
	 {ST_VECTOR_TEXT, LANE_WRITE, "vector_text", PUT_TEXTS("")}},
};
static const struct pg_stmt st_patience = {ST_VECTOR_PATIENCE, LANE_WRITE, "vector_patience",
					   "SELECT set_config('lock_timeout', '500ms', true)"};
#define JOURNAL "INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1::bigint, 0, 'i', '{}', '{}'"
static const struct pg_stmt st_model_add = {
	ST_MODEL_ADD, LANE_WRITE, "model_add",
	"WITH j AS (" JOURNAL ") INSERT INTO @cenote_model(name) SELECT $2::text WHERE (SELECT count(*) < $3::int FROM"
	" @cenote_model) ON CONFLICT DO NOTHING"};
static const struct pg_stmt st_models = {
	ST_MODELS, LANE_SEARCH, "models",
	"SELECT m.name, (SELECT count(*) FROM @cenote_vector v WHERE v.model = m.id) FROM @cenote_model m ORDER BY m.id"};
static const struct pg_stmt st_model_lock = {ST_MODEL_LOCK, LANE_WRITE, "model_lock",
					     "SELECT id FROM @cenote_model WHERE name = $1::text FOR UPDATE"};
/* $3: at most so many */
static const struct pg_stmt st_drop = {
	ST_VECTOR_DROP, LANE_WRITE, "vector_drop",
	"WITH x AS MATERIALIZED (SELECT ctid AS place FROM @cenote_vector WHERE model = (SELECT id FROM @cenote_model WHERE name"
	" = $2::text) ORDER BY model, kind, id LIMIT $3::bigint),"
	" d AS (DELETE FROM @cenote_vector v WHERE v.ctid = ANY(ARRAY(SELECT place FROM x))),"
	" g AS (DELETE FROM @cenote_model WHERE name = $2::text AND (SELECT count(*) FROM x) < $3::bigint),"
	" j AS (" JOURNAL ") SELECT count(*) FROM x"};

const struct pg_stmt pg_vectors_gone = {
	ST_VECTORS_GONE, LANE_WRITE, "vectors_gone",
	"DELETE FROM @cenote_vector v WHERE v.ctid = ANY(ARRAY(SELECT x.place FROM @cenote_journal j CROSS JOIN unnest(j.ids) u(id)"
	" CROSS JOIN @cenote_model m CROSS JOIN LATERAL (SELECT y.ctid AS place FROM @cenote_vector y WHERE y.model = m.id AND"
	" y.kind = j.kind AND y.id = -u.id LIMIT 1) x WHERE j.op = $1::bigint AND u.id < 0))"};

/* $1 after, $2 model, $3 at most */
#define WALK(columns, docs, kind)                                                                                                  \
	"SELECT c.id, c.terms, " columns ", v.data, v.mark, c.xmin::text::bigint FROM " docs PG_VECTOR_OF(                         \
		kind, "c.id", 2) " WHERE c.id > $1::bigint AND c.terms IS DISTINCT FROM '' ORDER BY c.id LIMIT $3::bigint"
static const struct pg_stmt st_walk_items = {ST_DOC_WALK_ITEMS, LANE_SEARCH, "doc_walk_items",
					     WALK("c.prefix, c.version", "@cenote_item c", "i")};
static const struct pg_stmt st_walk_messages = {
	ST_DOC_WALK_MESSAGES, LANE_SEARCH, "doc_walk_messages",
	WALK("t.thread, 0::bigint", "@cenote_message c JOIN @cenote_thread t ON t.id = c.thread_id", "m")};

static const struct pg_stmt st_walk_texts = {ST_DOC_WALK_TEXTS, LANE_SEARCH, "doc_walk_texts",
					     WALK("c.thread, 0::bigint", "@cenote_text c", "m")};

/* Documents of one kind lie in two tables: those of messages, and texts (core/text_store.h), whose ids are all greater. */
static int table_of(enum doc_kind kind, int64_t id)
{
	return kind == DOC_ITEM ? 0 : id < TEXT_ID_FIRST ? 1 : 2;
}

/* ------------------------------------------------------------------ putting */

struct put {
	struct pg_tenant *t;
	enum doc_kind kind;
	struct str model;
	const struct doc_vector **v; /* by id, each once */
	size_t n;
	bool no_model; /* out */
};

static int by_id(const void *a, const void *b)
{
	const struct doc_vector *x = *(const struct doc_vector *const *)a, *y = *(const struct doc_vector *const *)b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x > y) - (x < y);
}

/* In the order of the ids; of several for one document the last. */
static enum err sort(struct put *x, const struct doc_vector *v, size_t n)
{
	x->n = 0;
	x->v = malloc(n * sizeof *x->v);
	if (!x->v)
		return err_set(E_LIMIT, "out of memory in the store");
	for (size_t i = 0; i < n; i++)
		x->v[i] = &v[i];
	qsort(x->v, n, sizeof *x->v, by_id);
	for (size_t i = 0; i < n; i++)
		if (i + 1 == n || x->v[i + 1]->id != x->v[i]->id)
			x->v[x->n++] = x->v[i];
	return OK;
}

static void put_params(struct pg_params *p, const struct put *x, const struct doc_vector *const *v, size_t n)
{
	pg_params_init(p);
	pg_i64(p, pg_new_op());
	pg_text(p, x->model);
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, v[i]->id);
	pg_array_end(p);
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, (int64_t)v[i]->mark);
	pg_array_end(p);
	pg_array(p, PG_BYTEAS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, v[i]->data);
	pg_array_end(p);
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, (int64_t)v[i]->stamp);
	pg_array_end(p);
}

/* Writes them in one transaction. wait: for locks. An attempt that had been committed before is done again: it comes to the same.
 * *left (of x->n, may be NULL): ids of those that are locked. */
static enum err put_some(struct put *x, const struct doc_vector *const *v, size_t n, bool wait, int64_t *left, size_t *left_n)
{
	struct pg_params none, p;
	struct pg_step steps[2] = {{&st_patience, &none, NULL}, {&st_put[table_of(x->kind, v[0]->id)][wait], &p, NULL}};
	struct pg_job j = {.t = x->t, .steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	enum err e;
	int tries = 0;
	*left_n = 0;
	do {
		pg_job_clear(&j);
		pg_params_init(&none);
		put_params(&p, x, v, n);
		j.repeated = false;
		e = pg_run(&j);
		pg_params_release(&none);
		pg_params_release(&p);
	} while (e == OK && j.repeated && ++tries < ROUNDS_MAX);
	if (e == OK && j.repeated)
		e = err_set(E_BUSY, "the server's answers to vectors that were written got lost; try again");
	if (e != OK && strcmp(j.sqlstate, "55P03") == 0)
		e = err_wrap(e, "another client of the database holds a document whose vector is to be kept");
	if (e == OK) {
		struct pg_array ids;
		x->no_model = pg_is_null(steps[1].res, 0, 0);
		pg_get_array(steps[1].res, 0, 1, &ids);
		while (!x->no_model && *left_n < n && pg_next_i64(&ids, &left[*left_n]))
			++*left_n;
	}
	pg_job_clear(&j);
	return e;
}

static enum err model_add(struct put *x)
{
	struct pg_params p;
	PGresult *r;
	bool repeated;
	pg_params_init(&p);
	pg_i64(&p, pg_new_op());
	pg_text(&p, x->model);
	pg_i32(&p, MODELS_MAX);
	TRY(pg_write(x->t, &st_model_add, &p, &r, &repeated));
	PQclear(r);
	return OK;
}

/* Those that were locked, each alone. */
static enum err put_left(struct put *x, const int64_t *left, size_t left_n)
{
	for (size_t i = 0; i < left_n; i++) {
		struct doc_vector key = {.id = left[i]};
		const struct doc_vector *const *at = x->v;
		int64_t again;
		size_t again_n;
		while (at < x->v + x->n && (*at)->id != key.id)
			at++;
		if (at < x->v + x->n)
			TRY(put_some(x, at, 1, true, &again, &again_n));
	}
	return OK;
}

static enum err put_all(struct put *x)
{
	int64_t *left = malloc((x->n + 1) * sizeof *left);
	size_t left_n = 0;
	enum err e = left ? OK : err_set(E_LIMIT, "out of memory in the store");
	x->no_model = true;
	for (int i = 0; i < ROUNDS_MAX && e == OK && x->no_model; i++) {
		e = i == 0 ? OK : model_add(x);
		if (e == OK)
			e = put_some(x, x->v, x->n, false, left, &left_n);
	}
	if (e == OK && x->no_model)
		e = err_set(E_LIMIT, "a tenant has vectors of at most %d models; remove those of one that is no longer used",
			    MODELS_MAX);
	if (e == OK)
		e = put_left(x, left, left_n);
	free(left);
	return e;
}

enum err pg_vector_put(struct store *s, const struct principal *who, enum doc_kind kind, struct str model,
		       const struct doc_vector *v, size_t n)
{
	struct put x = {.kind = kind, .model = model};
	TRY(vector_call_check(who, RIGHT_WRITE, model, true));
	TRY(vector_batch_check(v, n));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &x.t));
	if (!x.t || n == 0) /* without a schema there are no documents */
		return OK;
	TRY(sort(&x, v, n));
	const struct doc_vector **all = x.v;
	size_t rest = x.n;
	enum err e = OK;
	while (rest > 0 && e == OK) { /* messages, then texts */
		for (x.n = 1; x.n < rest && table_of(kind, x.v[x.n]->id) == table_of(kind, x.v[0]->id);)
			x.n++;
		e = put_all(&x);
		x.v += x.n;
		rest -= x.n;
	}
	free(all);
	return e;
}

/* ----------------------------------------------------------------- removing */

enum err pg_write_gone(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, int64_t op, PGresult **res,
		       bool *repeated)
{
	struct pg_params gone;
	struct pg_step steps[2] = {{st, p, NULL}, {&pg_vectors_gone, &gone, NULL}};
	struct pg_job j = {.t = t, .steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	pg_params_init(&gone);
	pg_i64(&gone, op);
	enum err e = pg_run(&j);
	pg_params_release(p);
	pg_params_release(&gone);
	*repeated = e == OK && j.repeated;
	*res = NULL;
	if (e == OK && !j.repeated) {
		*res = steps[0].res;
		steps[0].res = NULL;
	}
	pg_job_clear(&j);
	return e;
}

enum err pg_vector_drop(struct store *s, const struct principal *who, struct str model, size_t max, bool *left)
{
	struct pg_params lock, p;
	struct pg_step steps[2] = {{&st_model_lock, &lock, NULL}, {&st_drop, &p, NULL}};
	struct pg_job j = {.steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	size_t most = max < VECTOR_BATCH_MAX ? max : VECTOR_BATCH_MAX;
	*left = false;
	TRY(vector_call_check(who, RIGHT_WRITE, model, true));
	if (max == 0)
		return err_set(E_INVALID, "at least one vector is removed at a time");
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &j.t));
	if (!j.t)
		return OK;
	pg_params_init(&lock);
	pg_text(&lock, model);
	pg_params_init(&p);
	pg_i64(&p, pg_new_op());
	pg_text(&p, model);
	pg_i64(&p, (int64_t)most);
	enum err e = pg_run(&j);
	if (e == OK) /* of an attempt that had been committed the number is lost: the next call will see */
		*left = j.repeated || pg_get_i64(steps[1].res, 0, 0) == (int64_t)most;
	pg_job_clear(&j);
	pg_params_release(&lock);
	pg_params_release(&p);
	return e;
}

/* ------------------------------------------------------------------ reading */

enum err pg_vector_models(struct store *s, const struct principal *who, void (*fn)(void *ctx, struct str model, int64_t n),
			  void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	pg_params_init(&p);
	TRY(pg_query(t, &st_models, &p, &r));
	for (int i = 0; i < PQntuples(r); i++)
		if (pg_get_i64(r, i, 1) > 0)
			fn(ctx, pg_get_str(r, i, 0), pg_get_i64(r, i, 1));
	PQclear(r);
	return OK;
}

struct walk {
	struct pg_tenant *t;
	enum doc_kind kind;
	struct str model;
	int64_t after;
	size_t left;
	doc_fn fn;
	void *ctx;
};

static enum err walk_page(struct walk *x, bool *more)
{
	size_t want = x->left < PAGE ? x->left : PAGE;
	struct pg_params p;
	PGresult *r;
	bool go = true;
	pg_params_init(&p);
	pg_i64(&p, x->after);
	pg_text(&p, x->model);
	pg_i64(&p, (int64_t)want);
	static const struct pg_stmt *const walks[] = {&st_walk_items, &st_walk_messages, &st_walk_texts};
	TRY(pg_query(x->t, walks[table_of(x->kind, x->after + 1)], &p, &r));
	int rows = PQntuples(r);
	for (int row = 0; row < rows && go; row++) {
		struct doc_change d = pg_doc_row(r, row, true);
		x->after = d.id;
		go = x->fn(x->ctx, &d);
	}
	PQclear(r);
	x->left -= (size_t)rows;
	*more = go && (size_t)rows == want && x->left > 0;
	if (x->kind == DOC_MESSAGE && go && (size_t)rows < want && x->after < TEXT_ID_FIRST - 1) {
		x->after = TEXT_ID_FIRST - 1;
		*more = true;
	}
	return OK;
}

enum err pg_doc_walk(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, int64_t after,
		     size_t limit, doc_fn fn, void *ctx)
{
	struct walk x = {.kind = kind, .model = model, .after = after, .left = limit, .fn = fn, .ctx = ctx};
	bool exact, more = limit > 0;
	TRY(vector_call_check(who, RIGHT_READ, model, false));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	if (kind == DOC_ITEM && after <= 0) /* what others wrote has documents from here on */
		TRY(pg_verify(x.t, STR(""), &exact));
	while (more)
		TRY(walk_page(&x, &more));
	return OK;
}

/* ----------------------------------------------------- what has no vector */

/* $1 after, $2 model, $3 at most. Of the next LACK_STEP documents those whose vector is not certainly the current one, each with,
 * in the first two columns, how far that goes and how many they are, unless there are as many as are wanted; at least one row. */
#define LACK_STEP 20000
#define TEXT_OF(x) #x
#define NUMBER(x) TEXT_OF(x)
#define LACKING(docs, kind)                                                                                                        \
	"WITH l AS MATERIALIZED (SELECT c.id, c.terms, c.version, v.mark, c.stamp FROM (SELECT " docs                              \
	" WHERE id > $1::bigint ORDER BY id LIMIT " NUMBER(                                                                        \
		LACK_STEP) ") c LEFT JOIN LATERAL (SELECT y.mark, y.stamp FROM @cenote_vector y"                                   \
			   " WHERE y.model = (SELECT o.id FROM @cenote_model o WHERE o.name = $2::text) AND y.kind = '" kind       \
			   "' AND y.id = c.id LIMIT 1) v ON true WHERE c.terms IS DISTINCT FROM '' AND v.stamp IS DISTINCT FROM "  \
			   "c.stamp"                                                                                               \
			   " ORDER BY c.id LIMIT $3::bigint)"
#define LACKING_END(table)                                                                                                         \
	", b AS (SELECT max(id) AS upto, count(*) AS n FROM (SELECT id FROM " table                                                \
	" WHERE id > $1::bigint ORDER BY id LIMIT " NUMBER(LACK_STEP) ") x WHERE (SELECT count(*) FROM l) < $3::bigint) SELECT "   \
								      "b.upto, b.n, l.* FROM b LEFT JOIN l ON true ORDER BY l.id"
static const struct pg_stmt st_lacking[3] = {
	{ST_DOC_LACKING_ITEMS, LANE_SCAN, "doc_lacking_items",
	 LACKING("id, terms, version, xmin::text::bigint AS stamp FROM @cenote_item", "i") LACKING_END("@cenote_item")},
	{ST_DOC_LACKING_MESSAGES, LANE_SCAN, "doc_lacking_messages",
	 LACKING("id, terms, 0::bigint AS version, xmin::text::bigint AS stamp FROM @cenote_message", "m")
		 LACKING_END("@cenote_message")},
	{ST_DOC_LACKING_TEXTS, LANE_SCAN, "doc_lacking_texts",
	 LACKING("id, terms, 0::bigint AS version, xmin::text::bigint AS stamp FROM @cenote_text", "m")
		 LACKING_END("@cenote_text")},
};
enum { L_UPTO, L_N, L_ID, L_TERMS, L_VERSION, L_MARK, L_STAMP };
/* $1 op, $2 model, $3 kind, $4 ids, $5 marks, $6 stamps: vectors that were current all the same. What somebody works on is left. */
static const struct pg_stmt st_stamp = {
	ST_VECTOR_STAMP, LANE_WRITE, "vector_stamp",
	"WITH l AS MATERIALIZED (SELECT v.place, x.stamp FROM unnest($4::bigint[], $5::bigint[], $6::bigint[]) x(id, mark, stamp)"
	" CROSS JOIN LATERAL (SELECT y.ctid AS place FROM @cenote_vector y WHERE y.model = (SELECT o.id FROM @cenote_model o WHERE"
	" o.name = $2::text) AND y.kind = $3::text::\"char\" AND y.id = x.id AND y.mark = x.mark LIMIT 1 FOR UPDATE SKIP LOCKED) "
	"v),"
	" u AS (UPDATE @cenote_vector v SET stamp = l.stamp FROM l WHERE v.ctid = l.place)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1::bigint, 0, 'i', '{}', '{}' WHERE EXISTS (SELECT FROM "
	"l)"};

struct lacking {
	struct pg_tenant *t;
	enum doc_kind kind;
	struct str model;
	struct doc_lack *at;
	size_t limit;
	doc_fn fn;
	void *ctx;
	struct doc_vector *same; /* to be stamped */
	size_t same_n;
};

/* The server is a standby: nothing is stamped, which costs the next start some rows. */
static enum err stamp(struct lacking *x)
{
	struct pg_params p;
	PGresult *r;
	bool repeated;
	if (x->same_n == 0 || pg_feed_on_standby(x->t->feed))
		return OK;
	pg_params_init(&p);
	pg_i64(&p, pg_new_op());
	pg_text(&p, x->model);
	pg_text(&p, x->kind == DOC_MESSAGE ? STR("m") : STR("i"));
	pg_array(&p, PG_INT8S, x->same_n);
	for (size_t i = 0; i < x->same_n; i++)
		pg_el_i64(&p, x->same[i].id);
	pg_array_end(&p);
	pg_array(&p, PG_INT8S, x->same_n);
	for (size_t i = 0; i < x->same_n; i++)
		pg_el_i64(&p, (int64_t)x->same[i].mark);
	pg_array_end(&p);
	pg_array(&p, PG_INT8S, x->same_n);
	for (size_t i = 0; i < x->same_n; i++)
		pg_el_i64(&p, (int64_t)x->same[i].stamp);
	pg_array_end(&p);
	TRY(pg_write(x->t, &st_stamp, &p, &r, &repeated));
	PQclear(r);
	return OK;
}

static void take_lacking(struct lacking *x, const PGresult *r)
{
	int rows = PQntuples(r);
	bool go = true;
	/* A page that was filled goes as far as its last document; the other one has all that there are. */
	bool filled = pg_is_null(r, 0, L_UPTO) && !pg_is_null(r, 0, L_ID);
	for (int row = 0; row < rows && go && !pg_is_null(r, row, L_ID); row++) {
		struct doc_change d = {.id = pg_get_i64(r, row, L_ID),
				       .terms = pg_is_null(r, row, L_TERMS) ? STR("\0") : pg_get_str(r, row, L_TERMS),
				       .version = pg_get_i64(r, row, L_VERSION),
				       .has_vector = !pg_is_null(r, row, L_MARK),
				       .mark = (uint64_t)pg_get_i64(r, row, L_MARK),
				       .stamp = (uint64_t)pg_get_i64(r, row, L_STAMP)};
		x->at->after = d.id;
		x->at->looked++;
		if (d.has_vector && d.mark == doc_mark(d.terms))
			x->same[x->same_n++] = (struct doc_vector){.id = d.id, .mark = d.mark, .stamp = d.stamp};
		else
			go = x->fn(x->ctx, &d);
	}
	if (filled || !go)
		return;
	if (!pg_is_null(r, 0, L_UPTO)) {
		x->at->after = pg_get_i64(r, 0, L_UPTO);
		x->at->looked = (uint64_t)pg_get_i64(r, 0, L_N);
	}
	x->at->end = x->at->looked < LACK_STEP;
}

enum err pg_doc_lacking(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, struct doc_lack *at,
			size_t limit, doc_fn fn, void *ctx)
{
	struct lacking x = {.kind = kind, .model = model, .at = at, .fn = fn, .ctx = ctx};
	struct pg_params p;
	PGresult *r;
	bool exact;
	enum err e;
	x.limit = limit < VECTOR_BATCH_MAX ? limit : VECTOR_BATCH_MAX;
	at->looked = 0;
	at->end = false;
	TRY(vector_call_check(who, RIGHT_READ, model, true));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	at->end = !x.t;
	if (!x.t || limit == 0)
		return OK;
	if (kind == DOC_ITEM && at->after <= 0) /* what others wrote has documents from here on */
		TRY(pg_verify(x.t, STR(""), &exact));
	x.same = malloc(x.limit * sizeof *x.same);
	if (!x.same)
		return err_set(E_LIMIT, "out of memory in the store");
	pg_params_init(&p);
	pg_i64(&p, at->after);
	pg_text(&p, model);
	pg_i64(&p, (int64_t)x.limit);
	e = pg_query(x.t, &st_lacking[table_of(kind, at->after + 1)], &p, &r);
	if (e == OK) {
		take_lacking(&x, r);
		PQclear(r);
		if (kind == DOC_MESSAGE && at->end && at->after < TEXT_ID_FIRST - 1) { /* after the messages the texts */
			at->after = TEXT_ID_FIRST - 1;
			at->end = false;
		}
		e = stamp(&x);
	}
	free(x.same);
	return e;
}
