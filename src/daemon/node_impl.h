/* Private to node_open.c and node.c: the server with its loops. */
#ifndef CENOTE_DAEMON_NODE_IMPL_H
#define CENOTE_DAEMON_NODE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "api/openai/openai.h"
#include "api/ops/ops.h"
#include "core/checkpoint.h"
#include "core/texts.h"
#include "core/vectors.h"
#include "daemon/admin.h"
#include "daemon/agents.h"
#include "daemon/assist.h"
#include "daemon/auth.h"
#include "daemon/background.h"
#include "daemon/node.h"
#include "index/rank.h"
#include "obs/traces.h"
#include "rt/fiber.h"

#define LISTENERS_MAX 32
#define LOOPS_MAX 256

struct worker {
	struct node *node;
	pthread_t thread;
	bool started;
	struct loop *loop;
	struct http_server *server;
	int fds[LISTENERS_MAX];
	size_t fds_n;
	struct fiber *sweeper, *retainer;
	struct loop_task drain_task, ping_task, sweep_task;
	atomic_uint asked, answered;
};

struct node {
	struct arena arena;
	struct rank_weights weights; /* of recall */
	struct config *cfg;
	struct store *store;
	struct embed_state embed;
	struct openai_models models;
	struct vectors *vectors;
	struct texts *texts;
	struct background *maker;		      /* of vectors; NULL: none */
	struct background *reader;		      /* of threads, for texts; NULL: none */
	struct background *learners[EXTRACT_WORKERS]; /* NULL: none */
	struct watched {
		struct mcp_servers *servers;
		size_t i;
		struct background *thread; /* NULL: none */
	} watched[MCP_SERVERS_MAX];	   /* asks them which tools they have */
	struct background *functions;	   /* asks the workspace what they are; NULL: there are none */
	struct memory *memory;
	struct traces *traces;	   /* NULL: nobody wants any */
	struct trace *setup;	   /* the trace of opening the store, for the log of a server; NULL: none */
	struct background *tracer; /* sends them; NULL: nowhere */
	struct assist assist;
	struct agents agents;	     /* what asks it */
	struct retention *retention; /* NULL: no rules */
	struct auth *auth;
	struct http_router *router;
	struct admin admin;
	struct api_ops ops;
	struct worker *workers;
	unsigned loops;
	struct str sockets[LISTENERS_MAX]; /* socket files to remove */
	struct stat sockets_st[LISTENERS_MAX];
	size_t sockets_n;
	bool sweep;
	uint64_t drain_at;
	atomic_bool draining;
	atomic_uint left; /* loops that have not ended */
	int end_fd;
	/* Start-up: guarded by mutex. */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned up;
	enum err up_err;
	struct diag up_diag;
};

#endif
