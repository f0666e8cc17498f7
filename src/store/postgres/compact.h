/* Private to store/postgres: checkpoints in the compact layout (checkpoints.layout = compact), on tables of our own. */
#ifndef CENOTE_STORE_PG_COMPACT_H
#define CENOTE_STORE_PG_COMPACT_H

#include "store/pack/pack.h"
#include "store/postgres/pg.h"

#endif
