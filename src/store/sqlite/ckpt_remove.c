/* Removing checkpoints and freeing what only they referred to. */
#include "rt/fiber.h"
#include "store/sqlite/ckpt.h"

enum err ckpt_drop_thread(struct conn *c, int64_t thread, int64_t *scopes)
{
	static const enum stmt all[] = {ST_DROP_CHUNKS,	 ST_DROP_VERSIONS, ST_DROP_STREAMS,
					ST_DROP_PENDING, ST_DROP_CKPTS,	   ST_DROP_SCOPES};
	enum err e;
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		sqlite3_stmt *st = conn_stmt(c, all[i], &e);
		if (!st)
			return e;
		sqlite3_bind_int64(st, 1, thread);
		TRY(conn_run(c, all[i]));
	}
	*scopes = sqlite3_changes64(c->db);
	return OK;
}
