/* A thread as the SDKs know it: its record, its status, and of its head what was asked for. */
#include "api/langgraph/impl.h"
#include "core/parse.h"
#include "core/state.h"

enum member { M_ID, M_CREATED, M_UPDATED, M_STATE_UPDATED, M_METADATA, M_CONFIG, M_STATUS, M_VALUES, M_INTERRUPTS, MEMBERS };
static const char *const member_names[MEMBERS] = {"thread_id", "created_at", "updated_at", "state_updated_at", "metadata",
						  "config",    "status",     "values",	   "interrupts"};

static bool selected(const struct lg_show *how, enum member m)
{
	for (size_t i = 0; how->select && i < how->select_n; i++)
		if (str_eq(how->select[i], str_c(member_names[m])))
			return true;
	return !how->select;
}

/* ------------------------------------------------------------------ extract */

/* A step of a path: "name" (or a name in front of brackets), or an index. */
struct step {
	struct str name;
	int64_t index;
	bool is_index;
};

static bool next_step(struct str *path, bool first, struct step *out)
{
	ptrdiff_t end;

	if (str_starts(*path, STR("["))) {
		end = str_chr(*path, ']', 0);
		out->is_index = true;
		if (first || end < 0 || !str_int(str_sub(*path, 1, (size_t)end), -1000000, 1000000, &out->index))
			return false;
		*path = str_sub(*path, (size_t)end + 1, path->n);
		return true;
	}
	if (!first && str_starts(*path, STR(".")))
		*path = str_sub(*path, 1, path->n);
	else if (!first)
		return false;
	for (end = 0; (size_t)end < path->n && path->p[end] != '.' && path->p[end] != '[';)
		end++;
	out->is_index = false;
	out->name = str_sub(*path, 0, (size_t)end);
	*path = str_sub(*path, (size_t)end, path->n);
	return end > 0;
}

static bool path_valid(struct str path)
{
	static const struct str roots[] = {STR_INIT("values"), STR_INIT("metadata"), STR_INIT("config"), STR_INIT("interrupts")};
	struct step s;
	bool known = false;

	for (bool first = true; first || path.n > 0; first = false) {
		if (!next_step(&path, first, &s))
			return false;
		for (size_t i = 0; first && i < sizeof roots / sizeof roots[0]; i++)
			known |= str_eq(s.name, roots[i]);
	}
	return known;
}

enum err lg_extract_check(struct arena *a, struct jval extract)
{
	struct jval alias, path;

	if (j_null(extract))
		return OK;
	if (!j_is(extract, JSON_OBJECT))
		return lg_bad("/extract", "must be an object of aliases and paths");
	if (j_node(extract)->count > LG_EXTRACT_MAX)
		return err_field(E_INVALID, "/extract", -1, "extract has %u paths, at most %d are allowed", j_node(extract)->count,
				 LG_EXTRACT_MAX);
	for (struct j_iter it = j_iter(extract); j_next(&it, &alias, &path);) {
		struct str text = j_is(path, JSON_STRING) ? j_str(a, path) : (struct str){0};

		if (!path_valid(text))
			return lg_bad("/extract", "has a path that is none: one begins with values, metadata, config or "
						  "interrupts and goes on with .name and [n], such as values.messages[-1]");
	}
	return OK;
}

static struct jval element(struct jval list, int64_t i)
{
	struct jval v;

	if (!j_is(list, JSON_ARRAY))
		return (struct jval){0};
	if (i < 0)
		i += j_node(list)->count;
	for (struct j_iter it = j_iter(list); i >= 0 && j_next(&it, NULL, &v); i--)
		if (i == 0)
			return v;
	return (struct jval){0};
}

static struct jval at_path(struct jval v, struct str path)
{
	struct step s;

	for (bool first = true; j_ok(v) && (first || path.n > 0) && next_step(&path, first, &s); first = false)
		v = s.is_index ? element(v, s.index) : j_get(v, s.name);
	return v;
}

/* ------------------------------------------------------------------ writing */

/* The head's members; a thread without a checkpoint has no values. */
static void write_values(struct jw *w, struct arena *own, const struct ckpt *head)
{
	if (head)
		ckpt_values_json(w, own, head, NULL, 0);
	else
		jw_null(w);
}

static void write_interrupts(struct jw *w, const struct ckpt *head)
{
	static const struct ckpt none;

	ckpt_interrupts_by_task_json(w, head ? head : &none);
}

static void write_extracted(struct jw *w, struct arena *own, const struct thread_info *t, const struct ckpt *head,
			    struct jval extract)
{
	const struct json_limits lim = {.depth = 80, .nodes = 4000000, .bytes = LG_READ_MAX, .flags = JSON_DUP_OK};
	struct jval alias, path;
	struct json doc;
	struct buf b;
	struct jw all;
	enum err e;

	buf_init(&b, own, LG_READ_MAX);
	jw_init(&all, &b);
	jw_obj(&all);
	jw_key(&all, "values");
	write_values(&all, own, head);
	jw_key(&all, "metadata");
	jw_raw(&all, t->metadata.n > 0 ? t->metadata : STR("{}"));
	jw_key(&all, "config");
	jw_raw(&all, t->config.n > 0 ? t->config : STR("{}"));
	jw_key(&all, "interrupts");
	write_interrupts(&all, head);
	jw_end_obj(&all);
	e = b.err;
	if (e == OK)
		e = json_parse(own, buf_slice(&b), &lim, &doc);
	if (e != OK) {
		w->b->err = e;
		return;
	}
	jw_obj(w);
	for (struct j_iter it = j_iter(extract); j_next(&it, &alias, &path);) {
		struct jval v = at_path(json_root(&doc), j_str(own, path));

		jw_key_str(w, j_str(own, alias));
		if (j_ok(v))
			jw_raw(w, j_raw(v));
		else
			jw_null(w);
	}
	jw_end_obj(w);
}

static void write_ttl(struct jw *w, const struct thread_info *t)
{
	if (t->ttl_minutes <= 0) {
		jw_null(w);
		return;
	}
	jw_obj(w);
	jw_key(w, "strategy");
	jw_cstr(w, t->ttl_strategy == TTL_KEEP_LATEST ? "keep_latest" : "delete");
	jw_key(w, "ttl_minutes");
	jw_double(w, t->ttl_minutes);
	jw_key(w, "expires_at");
	lg_time(w, t->updated_us + (int64_t)(t->ttl_minutes * 60e6));
	jw_end_obj(w);
}

static void write_member(struct jw *w, struct arena *own, const struct thread_info *t, const struct ckpt *head, enum member m)
{
	jw_key(w, member_names[m]);
	switch (m) {
	case M_ID:
		jw_str(w, t->thread);
		break;
	case M_CREATED:
		lg_time(w, t->created_us);
		break;
	case M_UPDATED:
		lg_time(w, t->updated_us);
		break;
	case M_STATE_UPDATED:
		lg_time(w, t->state_us > 0 ? t->state_us : t->created_us);
		break;
	case M_METADATA:
		jw_raw(w, t->metadata.n > 0 ? t->metadata : STR("{}"));
		break;
	case M_CONFIG:
		jw_raw(w, t->config.n > 0 ? t->config : STR("{}"));
		break;
	case M_STATUS:
		jw_cstr(w, thread_status_name(thread_status(t)));
		break;
	case M_VALUES:
		write_values(w, own, head);
		break;
	default:
		write_interrupts(w, head);
	}
}

struct write_job {
	struct jw *w;
	struct arena *own;
	const struct thread_info *t;
	const struct ckpt *head;
	const struct lg_show *how;
};

static enum err write_all(void *arg)
{
	const struct write_job *j = arg;

	jw_obj(j->w);
	for (enum member i = 0; i < MEMBERS; i++)
		if (selected(j->how, i))
			write_member(j->w, j->own, j->t, j->head, i);
	if (j->how->ttl) {
		jw_key(j->w, "ttl");
		write_ttl(j->w, j->t);
	}
	if (j_is(j->how->extract, JSON_OBJECT)) {
		jw_key(j->w, "extracted");
		write_extracted(j->w, j->own, j->t, j->head, j->how->extract);
	}
	jw_end_obj(j->w);
	return OK;
}

enum err lg_thread_write(struct http_req *rq, struct memory *m, struct jw *w, const struct thread_info *t,
			 const struct lg_show *how)
{
	struct ckpt_query q = {.thread = t->thread, .want = CK_WRITES_TOO};
	struct write_job job = {.w = w, .t = t, .how = how};
	struct ckpt_full full;
	struct arena own;
	bool found = false;
	enum err e;

	arena_init(&own, LG_READ_MAX);
	if (j_is(how->extract, JSON_OBJECT) || selected(how, M_VALUES))
		q.want |= CK_VALUES;
	if (t->checkpoints > 0 && ((q.want & CK_VALUES) || selected(how, M_INTERRUPTS)))
		CHECK(ckpt_get(m, &own, rq_principal(rq), &q, &full, &found));
	job.own = &own;
	job.head = found ? &full.c : NULL;
	e = run_sized(found ? ckpt_show_size(&full.c) : 0, write_all, &job);
	if (e == OK && w->b->err != OK)
		e = err_kind(E_LIMIT, ERR_SIZE, "the answer is too large; ask for fewer threads, or select members without values");
out:
	arena_release(&own);
	return e;
}
