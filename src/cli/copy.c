/* `cenote copy`: opens both stores itself and copies tenant by tenant (core/copy.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/interrupt.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "core/copy.h"
#include "daemon/node.h"

#define TENANTS_MAX 100000
#define ERRORS_MAX 1000 /* in the JSON of one tenant */
#define DIFFERS_TOLD 20 /* on stderr, of one tenant */

struct copying {
	struct call *c;
	struct store *from, *to; /* to: NULL in a dry run when there is nothing */
	char source[SHA256_HEX + 1];
	struct progress bar;
	struct str *tenants;
	size_t tenants_n;
	const char *shown; /* tenant in the bar */
	struct buf errors; /* of the tenant under way, members of a JSON array */
	size_t errors_n, differs;
	struct out out;
	int64_t failed, differ, compared;
};

/* ---------------------------------------------------------------- stores */

/* The folder of a sqlite: URL, NUL-terminated; "" for others. */
static struct str folder(struct arena *a, struct str url)
{
	struct str socket = store_socket_path(a, url);
	size_t n = socket.n;
	while (n > 0 && socket.p[n - 1] != '/')
		n--;
	return n > 1 ? arena_str(a, str_sub(socket, 0, n - 1)) : str_sub(socket, 0, n);
}

/* What names a store, without passwords: its real folder, or the URL and the schema. */
static enum err identity(struct copying *x, struct str url, struct str *out)
{
	struct arena *a = &x->c->arena;
	struct str dir = folder(a, url);
	struct buf b;
	if (dir.n > 0) {
		char *real = realpath(dir.p, NULL);
		*out = arena_str(a, real ? str_c(real) : dir);
		free(real);
		return out->p ? OK : E_NOMEM;
	}
	buf_init(&b, a, 64 << 10);
	store_url_redact(url, &b);
	buf_byte(&b, '\n');
	buf_str(&b, x->c->cfg.pg_schema);
	*out = buf_slice(&b);
	return b.err;
}

static enum err open_one(struct copying *x, const char *name, struct str url, struct store **out)
{
	struct store_options so = node_store_options(&x->c->cfg, 0);
	struct str dir = folder(&x->c->arena, url);
	bool dry = out == &x->to && call_has(x->c, "dry-run");
	so.pg.no_ddl |= dry;
	enum err e = store_open(url, &so, out);
	if (e == E_CONFLICT && dry) { /* there are no tables yet */
		fprintf(stderr, "cenote: copy: TO is counted as empty: %s\n", diag_get()->text);
		return OK;
	}
	if (e == E_BUSY && dir.n > 0)
		return err_wrap(e, "%s (stop the server that runs on it first)", name);
	return e == OK ? OK : err_wrap(e, "%s", name);
}

static bool is_folder(struct str dir)
{
	struct stat st;
	return stat(dir.p, &st) == 0 && S_ISDIR(st.st_mode);
}

static enum err open_both(struct copying *x)
{
	struct arena *a = &x->c->arena;
	struct str from = str_c(x->c->args[0]), to = str_c(x->c->args[1]), from_id, to_id;
	struct str from_dir = folder(a, from), to_dir = folder(a, to);
	uint8_t sum[SHA256_BYTES];
	TRY(identity(x, from, &from_id));
	TRY(identity(x, to, &to_id));
	if (str_eq(from_id, to_id))
		return err_set(E_INVALID, "FROM and TO are the same store");
	sha256_of(from_id, sum);
	hex_encode(sum, 16, x->source);
	if (from_dir.n > 0 && !is_folder(from_dir))
		return err_set(E_NOT_FOUND, "FROM: there is no store at %.*s", STR_ARG(from_dir));
	TRY(open_one(x, "FROM", from, &x->from));
	if (call_has(x->c, "dry-run") && to_dir.n > 0 && !is_folder(to_dir))
		return OK;
	return open_one(x, "TO", to, &x->to);
}

/* ---------------------------------------------------------------- tenants */

static bool add_tenant(void *ctx, struct str name)
{
	struct copying *x = ctx;
	for (size_t i = 0; i < x->tenants_n; i++)
		if (str_eq(x->tenants[i], name))
			return true;
	if (x->tenants_n == TENANTS_MAX)
		return false;
	x->tenants[x->tenants_n] = arena_str(&x->c->arena, name);
	return x->tenants[x->tenants_n++].p != NULL;
}

static bool add_key_tenant(void *ctx, const struct key_record *k)
{
	return add_tenant(ctx, k->tenant);
}

static enum err check_asked(struct copying *x, size_t all)
{
	size_t n = 0;
	for (size_t i = 0; i < x->c->flags_n; i++) {
		struct str name = str_c(x->c->flags[i].value);
		if (strcmp(x->c->flags[i].flag->name, "tenant") != 0)
			continue;
		size_t at = 0;
		while (at < all && !str_eq(x->tenants[at], name))
			at++;
		if (at == all)
			return err_set(E_NOT_FOUND, "FROM has no tenant \"%.*s\"", STR_ARG(name));
		/* Those asked for stand first, each once. */
		if (at >= n) {
			struct str moved = x->tenants[at];
			x->tenants[at] = x->tenants[n];
			x->tenants[n++] = moved;
		}
	}
	if (n)
		x->tenants_n = n;
	return OK;
}

static enum err find_tenants(struct copying *x)
{
	x->tenants = ARENA_ARRAY(&x->c->arena, struct str, TENANTS_MAX);
	if (!x->tenants)
		return E_NOMEM;
	TRY(x->from->ops->tenants(x->from, add_tenant, x));
	TRY(x->from->ops->key_list(x->from, add_key_tenant, x));
	if (x->tenants_n == TENANTS_MAX)
		return err_set(E_LIMIT, "FROM has more than %d tenants; name some with --tenant", TENANTS_MAX - 1);
	return check_asked(x, x->tenants_n);
}

/* ---------------------------------------------------------------- telling */

static void tick(void *ctx, struct str tenant, uint64_t done, uint64_t total)
{
	struct copying *x = ctx;
	if (x->shown != tenant.p) {
		x->shown = tenant.p;
		progress_file(&x->bar, tenant.p, total);
	}
	progress_tick(&x->bar, done, done < total ? done : total);
}

static void resumes(void *ctx, struct str tenant, uint64_t done)
{
	struct copying *x = ctx;
	if (!x->c->quiet)
		fprintf(stderr, "cenote: copy: %.*s: goes on after %" PRIu64 " items and messages of an earlier run\n",
			STR_ARG(tenant), done);
}

static bool stopped(void *ctx)
{
	(void)ctx;
	return interrupt_pending() != 0;
}

static void note(struct copying *x, const struct copy_problem *p)
{
	struct jw w;
	if (x->errors_n++ >= ERRORS_MAX)
		return;
	if (x->errors.n)
		buf_byte(&x->errors, ',');
	jw_init(&w, &x->errors);
	jw_obj(&w);
	jw_key(&w, "what");
	jw_cstr(&w, p->what == COPY_FAILED ? "failed" : "differs");
	bool thread = p->kind != COPY_ITEM && p->kind != COPY_STATE;
	jw_key(&w, thread ? "thread" : "namespace");
	if (thread)
		jw_str(&w, p->ns);
	else
		ns_to_json(&w, p->ns);
	jw_key(&w, thread ? "id" : "key");
	jw_str(&w, p->key);
	jw_key(&w, "reason");
	jw_str(&w, p->reason);
	jw_end_obj(&w);
}

static void on_problem(void *ctx, const struct copy_problem *p)
{
	struct copying *x = ctx;
	note(x, p);
	if (p->what == COPY_DIFFERS && x->differs++ >= DIFFERS_TOLD)
		return;
	progress_clear(&x->bar);
	static const char *const kinds[] = {"item", "message", "thread", "checkpoint", "entry", "state"};
	fprintf(stderr, "cenote: copy: %.*s: %s %.*s %.*s: %.*s\n", STR_ARG(p->tenant), kinds[p->kind], STR_ARG(p->ns),
		STR_ARG(p->key), STR_ARG(p->reason));
}

static const struct column cols[] = {
	{"TENANT", "tenant", 30},
	{"ITEMS", "items", 0},
	{"COPIED", "copied", 0},
	{"THERE", "unchanged", 0},
	{"NEWER", "newer", 0},
	{"FAILED", "failed", 0},
	{"CHANGED", "changed", 0},
	{"STATES", "states", 0},
	{"COPIED", "states_copied", 0},
	{"MESSAGES", "messages", 0},
	{"COPIED", "messages_copied", 0},
	{"CHECKPOINTS", "checkpoints", 0},
	{"COPIED", "checkpoints_copied", 0},
	{"ENTRIES", "entries", 0},
	{"COPIED", "entries_copied", 0},
	{"KEYS", "keys", 0},
	{"EQUAL", "equal", 0},
	{"CHECKSUM", "checksum_to", 0},
};

static void member(struct jw *w, const char *name, int64_t v)
{
	jw_key(w, name);
	jw_i64(w, v);
}

static void checksum(struct jw *w, const char *name, bool known, uint64_t v)
{
	char text[24];
	snprintf(text, sizeof text, "%016" PRIx64, v);
	jw_key(w, name);
	if (known)
		jw_cstr(w, text);
	else
		jw_null(w);
}

static enum err row(struct copying *x, struct str tenant, const struct copy_result *r)
{
	struct arena *a = &x->c->arena;
	struct json doc;
	struct buf b;
	struct jw w;
	buf_init(&b, a, (size_t)4 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "tenant");
	jw_str(&w, tenant);
	member(&w, "items", r->items);
	member(&w, "copied", r->copied);
	member(&w, "unchanged", r->unchanged);
	member(&w, "newer", r->newer);
	member(&w, "failed", r->failed);
	member(&w, "changed", r->changed);
	member(&w, "differ", r->differ);
	member(&w, "only_in_target", r->extra);
	member(&w, "states", r->states);
	member(&w, "states_copied", r->states_copied);
	member(&w, "messages", r->messages);
	member(&w, "messages_copied", r->messages_copied);
	member(&w, "threads", r->threads);
	member(&w, "checkpoints", r->checkpoints);
	member(&w, "checkpoints_copied", r->checkpoints_copied);
	member(&w, "entries", r->entries);
	member(&w, "entries_copied", r->entries_copied);
	member(&w, "keys", r->keys);
	jw_key(&w, "resumed");
	jw_bool(&w, r->resumed);
	jw_key(&w, "equal");
	if (r->compared)
		jw_bool(&w, r->equal);
	else
		jw_null(&w);
	member(&w, "count_from", r->from_count);
	member(&w, "count_to", r->to_count);
	checksum(&w, "checksum_from", r->compared, r->from_sum);
	checksum(&w, "checksum_to", r->compared, r->to_sum);
	jw_key(&w, "errors");
	jw_arr(&w);
	if (x->errors.n)
		jw_raw(&w, buf_slice(&x->errors));
	jw_end_arr(&w);
	jw_end_obj(&w);
	TRY(b.err);
	TRY(json_parse(a, buf_slice(&b), &json_default_limits, &doc));
	return out_row(&x->out, json_root(&doc));
}

/* ---------------------------------------------------------------- command */

static enum err copy_all(struct copying *x)
{
	struct buf langs;
	buf_init(&langs, &x->c->arena, 64 << 10);
	const struct copy_options opt = {
		.source = str_of(x->source, 32),
		.languages = node_languages(&x->c->cfg, &langs),
		.dry_run = call_has(x->c, "dry-run"),
		.no_verify = call_has(x->c, "no-verify"),
		.resumes = resumes,
		.tick = tick,
		.problem = on_problem,
		.stopped = stopped,
		.ctx = x,
	};
	for (size_t i = 0; i < x->tenants_n; i++) {
		struct copy_result r;
		buf_clear(&x->errors);
		x->errors_n = x->differs = 0;
		enum err e = copy_tenant(x->from, x->to, x->tenants[i], &opt, &r);
		progress_clear(&x->bar);
		if (e == E_CANCELLED && interrupt_pending())
			return e;
		if (e != OK)
			return err_wrap(e, "tenant %.*s", STR_ARG(x->tenants[i]));
		x->failed += r.failed;
		x->differ += r.compared && !r.equal ? (r.differ ? r.differ : 1) : 0;
		x->compared += r.from_count;
		TRY(row(x, x->tenants[i], &r));
	}
	return out_end(&x->out);
}

static void close_both(struct copying *x)
{
	if (x->to)
		x->to->ops->close(x->to);
	if (x->from)
		x->from->ops->close(x->from);
}

int run_copy(struct call *c)
{
	struct copying x = {.c = c};
	enum err e = OK;
	buf_init(&x.errors, NULL, (size_t)3 << 20);
	CHECK(call_config(c));
	log_setup(c->verbose ? LOG_DEBUG : LOG_WARN, isatty(2) ? LOG_TEXT : LOG_JSON);
	CHECK(progress_begin(&x.bar, c, "copy", NULL));
	interrupt_cooperate();
	CHECK(open_both(&x));
	CHECK(find_tenants(&x));
	out_begin(&x.out, c, cols, sizeof cols / sizeof cols[0], "tenant", false);
	CHECK(copy_all(&x));
	if (x.differ)
		e = err_set(E_CORRUPT, "the stores differ: %" PRId64 " of %" PRId64 " compared", x.differ, x.compared);
out:;
	struct diag d = *diag_get();
	close_both(&x);
	buf_release(&x.errors);
	if (e == E_CANCELLED && interrupt_pending()) {
		fprintf(stderr, "cenote: copy: stopped; the same command goes on from there\n");
		return interrupt_pending() == 2 ? 130 : 143;
	}
	*diag_get() = d;
	return e != OK ? call_fail(c, e) : x.failed ? 7 : 0;
}
