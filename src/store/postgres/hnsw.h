/* The index of vectors in the database, between hnsw.c (asking it) and hnsw_build.c (making it). Private to store/postgres. */
#ifndef CENOTE_STORE_PG_HNSW_H
#define CENOTE_STORE_PG_HNSW_H

#include "store/postgres/pg.h"

#define PG_HNSW_DIMS_MAX 4000 /* pgvector's, for halfvec */
/* When to look again: while somebody is building; after a failure, twice as long after each that follows. */
#define PG_HNSW_TURN_MS 1000
#define PG_HNSW_AGAIN_MS 10000
#define PG_HNSW_AGAIN_MOST_MS 3600000

/* Names of what is made in a tenant's schema: two functions, and an index of cenote_vector per model. The number in the functions'
 * names changes with what they do. */
#define PG_HNSW_VECTOR "cenote_hnsw_vector_1"
#define PG_HNSW_FIND "cenote_hnsw_find_1"

/* Makes what is missing, in the background; ends with pg_hnsw_looked. */
enum err pg_hnsw_build(struct pg_tenant *t) MUST_CHECK;
/* number: the model's, when the index is there; 0: it is not, and is looked for again after again_ms (0: it failed). */
void pg_hnsw_looked(struct pg_tenant *t, int64_t number, uint32_t again_ms);

#endif
