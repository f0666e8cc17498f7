/* What the commands about threads and sessions share. */
#ifndef CENOTE_CLI_THREADS_H
#define CENOTE_CLI_THREADS_H

#include "cli/out.h"
#include "cli/peer.h"

/* "/cenote/v1/threads/NAME" and rest, NAME encoded. */
struct str thread_path(struct call *c, const char *thread, const char *rest);
/* GET, parsed; doc in the arena. */
enum err get_json(struct call *c, struct str path, struct jval *out) MUST_CHECK;
enum err send_json(struct call *c, const char *method, struct str path, struct str body, struct jval *out) MUST_CHECK;
/* Elements of "data" over all pages until limit are taken; a path with a query ends in "&", another in "?". */
typedef enum err (*row_fn)(void *ctx, struct jval row);
enum err each_row(struct call *c, struct str path, int64_t limit, row_fn fn, void *ctx) MUST_CHECK;
/* A checkpoint's id from what the user typed: whole, or as many leading characters as only one has; NULL: "" (the newest). */
enum err resolve_id(struct call *c, const char *thread, const char *ns, const char *text, struct str *out) MUST_CHECK;
/* Data is printed for people: on a terminal, or when text or a table was asked for. */
bool for_people(const struct call *c);
enum err print(struct buf *b) MUST_CHECK;
/* 0, or what failed with its exit code; a "no" to a question is 1. */
int ended(struct call *c, enum err e);

/* Writes a whole thread to a file made anew with mode 0600; *lines: how many. What is there of that name is replaced when all is
 * written. */
enum err threads_export_to(struct call *c, struct http_client *h, const char *thread, const char *file, uint64_t *lines) MUST_CHECK;

int run_threads_ls(struct call *c);
int run_threads_show(struct call *c);
int run_threads_history(struct call *c);
int run_threads_diff(struct call *c);
int run_threads_fork(struct call *c);
int run_threads_prune(struct call *c);
int run_threads_rm(struct call *c);
int run_threads_export(struct call *c);
int run_threads_import(struct call *c);
int run_sessions_ls(struct call *c);
int run_sessions_show(struct call *c);
int run_sessions_add(struct call *c);
int run_sessions_pop(struct call *c);
int run_sessions_clear(struct call *c);
int run_sessions_rm(struct call *c);

#endif
