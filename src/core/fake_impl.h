/* What the files of the in-memory store share; see fake_store.c for its invariants. */
#ifndef CENOTE_CORE_FAKE_IMPL_H
#define CENOTE_CORE_FAKE_IMPL_H

#include <pthread.h>

#include "base/map.h"
#include "core/fact_store.h"
#include "core/thread_store.h"

enum { FAKE_TENANTS = 16, FAKE_KEYS = 64 };

struct fake_table {
	const void **p;
	size_t n, cap;
};

/* Rows are immutable. */
struct fake_row {
	struct item it;
	struct str terms;
};
struct fake_change {
	enum doc_kind kind;
	int64_t id;
	struct str place; /* namespace or user */
	struct str lang_ns;
};
struct fake_vector {
	struct str model;
	enum doc_kind kind;
	struct doc_vector v;
};

struct fake_tenant {
	struct str name;
	struct fake_table items;    /* const struct fake_row *, in order of creation */
	struct fake_table messages; /* const struct message * */
	struct fake_table threads;  /* struct fake_thread *, by name */
	struct fake_table log;	    /* const struct fake_change * */
	struct fake_table meta;	    /* const struct meta * */
	struct fake_table vectors;  /* struct fake_vector *; those of documents that are gone do not count */
	struct fake_table facts;    /* const struct fact_state *, by name */
	int64_t last_id;
};

struct fake {
	struct store base;
	struct store_ops ops;
	pthread_mutex_t lock;
	struct arena arena;
	struct fake_tenant tenants[FAKE_TENANTS];
	size_t n;
	struct key_record keys[FAKE_KEYS];
	size_t keys_n;
	int64_t last_us;
	enum err fail, sweep_fail, tenant_fail;
	struct str fail_tenant; /* "" : none */
	unsigned fail_n, fail_after, write_calls, writes, kept;
};

/* A thread. Unlike the rows it is changed in place. */
struct fake_thread {
	struct thread_info info;       /* counts of checkpoints and entries are filled in when it is shown */
	bool put;		       /* somebody called put */
	struct fake_table checkpoints; /* struct ckpt * without values and writes; by id, then ns descending: newest last */
	struct map values;	       /* "ns\0channel\0version" -> struct ckpt_value * */
	struct map refs;	       /* the same -> number of checkpoints whose channel_versions have it */
	struct map writes;	       /* checkpoint id -> struct fake_table of struct fake_write * */
	struct fake_table entries;     /* struct session_entry * */
	char once[32];		       /* of the last append */
	int64_t once_us;
	const int64_t *once_ids;
	size_t once_n;
};
struct fake_write {
	struct str ns;
	struct ckpt_pending w;
};

struct fake *fake_of(const struct store *s);
void fake_add(struct fake_table *t, const void *p);
void fake_del(struct fake_table *t, size_t i);
/* Locks, and returns the tenant; NULL (unlocked) with *e set when the call is refused. */
struct fake_tenant *fake_enter(struct fake *f, const struct principal *who, enum err *e);
enum err fake_leave(struct fake *f, enum err e);
/* A clock that never repeats (rule 6 of the port). */
int64_t fake_tick(struct fake *f);
void fake_log(struct fake *f, struct fake_tenant *t, enum doc_kind kind, int64_t id, struct str place, struct str lang_ns);

bool fake_below(struct str ns, struct str prefix);

/* ---- fake_docs.c */
enum err fake_doc_scan(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
		       void *ctx);
enum err fake_doc_changes(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
			  void *ctx);
enum err fake_doc_walk(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, int64_t after,
		       size_t limit, doc_fn fn, void *ctx);
enum err fake_doc_lacking(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, struct doc_lack *at,
			  size_t limit, doc_fn fn, void *ctx);
enum err fake_doc_keep(struct store *s, const struct principal *who, enum doc_kind kind, const struct doc_kept *v, size_t n);
enum err fake_vector_put(struct store *s, const struct principal *who, enum doc_kind kind, struct str model,
			 const struct doc_vector *v, size_t n);
enum err fake_vector_get(struct store *s, struct arena *a, const struct principal *who, enum doc_kind kind, struct str model,
			 const int64_t *ids, size_t n, struct doc_vector *out);
enum err fake_vector_models(struct store *s, const struct principal *who, void (*fn)(void *ctx, struct str model, int64_t n),
			    void *ctx);
enum err fake_vector_drop(struct store *s, const struct principal *who, struct str model, size_t max, bool *left);

/* ---- fake_threads.c */
void fake_threads_free(struct fake_tenant *t);
/* The thread when there is one that who may reach; NULL. */
struct fake_thread *fake_thread_find(const struct fake_tenant *t, const struct principal *who, struct str thread);
/* For a write of user: the thread, made when there is none; NULL with *e = E_CONFLICT when it is another's. */
struct fake_thread *fake_thread_touch(struct fake *f, struct fake_tenant *t, const struct principal *who, struct str user,
				      struct str thread, enum err *e);
/* When nothing is left of a thread that nobody put, it goes. */
void fake_thread_settle(struct fake_tenant *t, struct fake_thread *th);
enum err fake_message_append(struct store *s, const struct principal *who, struct message *m, size_t n);
enum err fake_message_list(struct store *s, const struct principal *who, struct str thread, int64_t from, size_t limit,
			   message_fn fn, void *ctx);
enum err fake_message_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
			    struct message *out);
enum err fake_thread_list(struct store *s, const struct principal *who, const struct str *user, struct str after, size_t limit,
			  thread_fn fn, void *ctx);
extern const struct thread_ops fake_thread_ops;

/* ---- fake_entries.c */
enum err fake_append(struct store *s, const struct principal *who, struct entry_append *e);
enum err fake_entries(struct store *s, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx);
enum err fake_entry(struct store *s, struct arena *a, const struct principal *who, struct str thread, int64_t id,
		    struct session_entry *out, bool *found);
enum err fake_pop(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
		  bool *found);
enum err fake_entry_delete(struct store *s, const struct principal *who, struct str thread, int64_t id);
enum err fake_clear(struct store *s, const struct principal *who, struct str thread, struct entry_append *with);

/* ---- fake_checkpoints.c */
void fake_checkpoints_drop(struct fake_thread *th);
/* interrupted, error and state_us of the head of "". */
void fake_checkpoints_show(const struct fake_thread *th, struct thread_info *out);
extern const struct checkpoint_ops fake_checkpoint_ops;

/* fake_facts.c */
extern const struct fact_ops fake_fact_ops;
/* A row moves into the history: it is overwritten by (or superseded by key with) what by says; NULL: by what is no fact. */
void fake_fact_retire(struct fake *f, struct fake_tenant *t, const struct fake_row *r, const struct fact_put *by, struct str key,
		      int64_t at_us);
bool fake_fact_forget(struct fake_tenant *t, struct str ns, struct str key);

/* The small value that belongs to a thread's entries. */
void fake_value_drop(struct fake_tenant *t, struct str thread);
void fake_value_drop_named(struct fake_tenant *t, struct str name);
/* Removes the entry at i, and the small value that belongs to it. */
void fake_entry_drop(struct fake_tenant *t, struct fake_thread *th, size_t i);
void fake_entries_drop(struct fake_tenant *t, struct fake_thread *th);

#endif
