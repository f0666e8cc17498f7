/* The MCP servers and what they offer at present.
 *
 * Invariants (m->lock guards all of it)
 *  1. m->now is what turns get: the tools of all lists, in the order of the file. It is replaced whole, never changed; a turn holds
 *     the one that it began with, and with it the lists, by a counter.
 *  2. A name is offered once: ours come first, then those of servers that the file names first. With ours there are at most
 *     TOOLS_MAX.
 *  3. A server that does not answer offers nothing. It is asked again, after a pause that doubles; which of the two it is goes to
 * the log when it changes.
 *  4. Nobody waits for the lock: requests are made without it, by one fiber a server (`asking`). */
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "rt/wait.h"
#include "tool/mcp_impl.h"

enum { LIST_MS = 10000, FRESH_MS = 300000, RETRY_MS = 500, RETRY_MOST_MS = 60000, ASKED_MS = 200 };

struct snapshot {
	unsigned refs;
	struct arena arena;
	struct toolbox box;
	struct mcp_list *lists[MCP_SERVERS_MAX];
	size_t lists_n;
};
struct mcp_servers {
	struct tool_source source; /* first */
	struct mcp_server *v;
	size_t n;
	struct toolbox ours;
	atomic_bool watched; /* by mcp_watch */
	pthread_mutex_t lock;
	struct snapshot *now; /* NULL: there is nothing */
};

/* ---------------------------------------------------------------------- snapshots */

static void drop_list(struct mcp_list *l)
{
	if (l && --l->refs == 0)
		mcp_list_free(l);
}

static void drop_snapshot(struct snapshot *s)
{
	if (!s || --s->refs > 0)
		return;
	for (size_t i = 0; i < s->lists_n; i++)
		drop_list(s->lists[i]);
	arena_release(&s->arena);
	free(s);
}

static void refuse(struct mcp_tool *t, const char *why)
{
	if (!t->told)
		LOG(LOG_WARN, "tool.mcp", "a tool of an MCP server is not offered", LF_STR("server", t->server->name),
		    LF_STR("tool", t->tool.name), LF_C("why", why));
	t->told = true;
}

static void put_list(const struct mcp_servers *m, struct snapshot *s, const struct tool **v, struct mcp_list *l)
{
	l->refs++;
	s->lists[s->lists_n++] = l;
	for (size_t i = 0; i < l->n; i++) {
		struct mcp_tool *t = &l->v[i];

		if (toolbox_find(&m->ours, t->tool.name) || toolbox_find(&s->box, t->tool.name))
			refuse(t, "there is a tool of this name already; a prefix would tell them apart");
		else if (m->ours.n + s->box.n == TOOLS_MAX)
			refuse(t, "there are 128 tools already");
		else
			v[s->box.n++] = &t->tool;
	}
}

/* Makes m->now anew of the lists. Without memory it stays as it is, which is right, too: the lists in it are held. */
static void make_snapshot(struct mcp_servers *m)
{
	struct snapshot *s = calloc(1, sizeof *s);
	const struct tool **v;

	if (!s)
		return;
	arena_init(&s->arena, 65536);
	s->refs = 1;
	v = ARENA_ARRAY(&s->arena, const struct tool *, TOOLS_MAX);
	if (!v) {
		drop_snapshot(s);
		return;
	}
	s->box.v = v;
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].list)
			put_list(m, s, v, m->v[i].list);
	drop_snapshot(m->now);
	m->now = s;
}

/* --------------------------------------------------------------------------- lists */

/* The raw lists of all pages, and a hash of them. */
static enum err fetch(struct mcp_server *s, struct arena *a, struct str *pages, size_t *n, uint64_t *hash)
{
	struct str params = STR("{}"), cursor = STR("");
	size_t bytes = 0;

	for (*n = 0, *hash = 0; params.n;) {
		struct jval result, tools, next;
		struct json doc;
		struct buf b;

		TRY(mcp_request(s, a, NULL, NULL, "tools/list", params, &doc, &result));
		tools = j_get(result, STR("tools"));
		next = j_get(result, STR("nextCursor"));
		if (!j_is(tools, JSON_ARRAY))
			return err_set(E_UPSTREAM, "the server's list of tools is none");
		pages[*n] = j_raw(tools);
		bytes += pages[*n].n;
		*hash = *hash * 31 + hash64(pages[*n]);
		++*n;
		if (!j_is(next, JSON_STRING))
			return OK;
		if (*n == MCP_PAGES_MAX || bytes > MCP_ANSWER_MAX || j_raw(next).n > MCP_CURSOR_MAX || str_eq(cursor, j_raw(next)))
			return err_set(E_LIMIT, "the server's list of tools does not end within %d pages and %zu bytes",
				       MCP_PAGES_MAX, MCP_ANSWER_MAX);
		cursor = j_raw(next);
		buf_init(&b, a, 2 * MCP_CURSOR_MAX);
		buf_printf(&b, "{\"cursor\":%.*s}", STR_ARG(cursor));
		TRY(b.err);
		params = buf_slice(&b);
	}
	return OK;
}

/* *out NULL: it is the list that there is. */
static enum err read_list(struct mcp_server *s, struct arena *a, struct mcp_list **out)
{
	struct str pages[MCP_PAGES_MAX];
	uint64_t hash;
	bool same;
	size_t n;

	*out = NULL;
	TRY(fetch(s, a, pages, &n, &hash));
	pthread_mutex_lock(&s->all->lock);
	same = s->list && s->list->hash == hash;
	pthread_mutex_unlock(&s->all->lock);
	if (same)
		return OK;
	TRY(mcp_list_make(s, pages, n, out));
	(*out)->hash = hash;
	(*out)->refs = 1;
	return OK;
}

static void take_list(struct mcp_server *s, struct mcp_list *l)
{
	s->failed = 0;
	s->told = false;
	s->due = deadline_in_ms(FRESH_MS);
	if (!l)
		return;
	LOG(LOG_INFO, "tool.mcp", "tools of an MCP server", LF_STR("server", s->name), LF_INT("tools", (int64_t)l->n));
	drop_list(s->list);
	s->list = l;
	make_snapshot(s->all);
}

static void take_failure(struct mcp_server *s, enum err e, const char *why)
{
	uint32_t pause = s->failed < 7 ? RETRY_MS << s->failed : RETRY_MOST_MS;

	s->failed++;
	s->failures++;
	s->due = deadline_in_ms(pause);
	if (!s->told)
		LOG(LOG_WARN, "tool.mcp", "an MCP server does not say which tools it has; it offers none until it does",
		    LF_STR("server", s->name), LF_C("error", err_name(e)), LF_C("why", why));
	s->told = true;
	if (s->list) {
		drop_list(s->list);
		s->list = NULL;
		make_snapshot(s->all);
	}
}

/* Asks the server for its tools, unless somebody else does or it is not yet due. */
static void refresh(struct mcp_server *s)
{
	struct mcp_servers *m = s->all;
	struct mcp_list *l = NULL;
	struct arena a;
	uint64_t before;
	bool mine;
	enum err e;

	pthread_mutex_lock(&m->lock);
	mine = !s->asking && clock_mono_ns() >= s->due;
	s->asking = s->asking || mine;
	pthread_mutex_unlock(&m->lock);
	if (!mine)
		return;
	arena_init(&a, MCP_SCRATCH);
	before = wait_within(deadline_in_ms(s->timeout_ms && s->timeout_ms < LIST_MS ? s->timeout_ms : LIST_MS));
	e = read_list(s, &a, &l);
	wait_restore(before);
	if (e == E_TIMEOUT)
		(void)err_set(e, "it did not answer in time");
	pthread_mutex_lock(&m->lock);
	if (e == OK)
		take_list(s, l);
	else if (e != E_CANCELLED)
		take_failure(s, e, diag_get()->text);
	s->asking = false;
	pthread_mutex_unlock(&m->lock);
	arena_release(&a);
}

void mcp_watch(struct mcp_servers *m, size_t i)
{
	struct mcp_server *s = &m->v[i];
	uint64_t due, soon;

	atomic_store(&m->watched, true);
	do {
		refresh(s);
		soon = deadline_in_ms(ASKED_MS); /* it may be a turn that asks at present */
		pthread_mutex_lock(&m->lock);
		due = s->due > soon ? s->due : soon;
		pthread_mutex_unlock(&m->lock);
	} while (wait_until(due) == OK);
}

/* --------------------------------------------------------------------------- turns */

static struct toolbox hold(struct tool_source *source, void **held)
{
	struct mcp_servers *m = (struct mcp_servers *)source;
	struct snapshot *s;

	for (size_t i = 0; i < m->n && !atomic_load(&m->watched); i++)
		refresh(&m->v[i]);
	pthread_mutex_lock(&m->lock);
	s = m->now;
	if (s)
		s->refs++;
	pthread_mutex_unlock(&m->lock);
	*held = s;
	return s ? s->box : (struct toolbox){NULL, 0};
}

static void let_go(struct tool_source *source, void *held)
{
	struct mcp_servers *m = (struct mcp_servers *)source;

	pthread_mutex_lock(&m->lock);
	drop_snapshot(held);
	pthread_mutex_unlock(&m->lock);
}

/* -------------------------------------------------------------------- opening, metrics */

enum err mcp_open(struct mcp_server *v, size_t n, struct mcp_servers **out)
{
	struct mcp_servers *m = calloc(1, sizeof *m);

	if (!m)
		return err_set(E_LIMIT, "out of memory for the MCP servers");
	*m = (struct mcp_servers){.source = {hold, let_go}, .v = v, .n = n};
	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < n; i++) {
		v[i].all = m;
		pthread_mutex_init(&v[i].lock, NULL);
	}
	*out = m;
	return OK;
}

void mcp_close(struct mcp_servers *m)
{
	if (!m)
		return;
	drop_snapshot(m->now);
	for (size_t i = 0; i < m->n; i++) {
		drop_list(m->v[i].list);
		pthread_mutex_destroy(&m->v[i].lock);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void mcp_taken(struct mcp_servers *m, struct toolbox ours)
{
	m->ours = ours;
}

size_t mcp_count(const struct mcp_servers *m)
{
	return m->n;
}

struct tool_source *mcp_source(struct mcp_servers *m)
{
	return &m->source;
}

static void figure(struct mcp_servers *m, struct buf *out, const char *name, const char *type, const char *help,
		   uint64_t (*of)(const struct mcp_server *s))
{
	buf_printf(out, "# HELP cenote_tool_server_%s %s\n# TYPE cenote_tool_server_%s %s\n", name, help, name, type);
	for (size_t i = 0; i < m->n; i++)
		buf_printf(out, "cenote_tool_server_%s{server=\"%.*s\"} %llu\n", name, STR_ARG(m->v[i].name),
			   (unsigned long long)of(&m->v[i]));
}

static uint64_t is_up(const struct mcp_server *s)
{
	return s->list != NULL;
}
static uint64_t tools_of(const struct mcp_server *s)
{
	return s->list ? s->list->n : 0;
}
static uint64_t failures_of(const struct mcp_server *s)
{
	return s->failures;
}

void mcp_metrics(struct mcp_servers *m, struct buf *out)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	figure(m, out, "up", "gauge", "Whether an MCP server has said which tools it has.", is_up);
	figure(m, out, "tools", "gauge", "Tools that an MCP server has.", tools_of);
	figure(m, out, "failures_total", "counter", "Times that an MCP server did not say which tools it has.", failures_of);
	pthread_mutex_unlock(&m->lock);
}
