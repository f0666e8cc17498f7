-- wrk: POST /store/items/search with questions of five words (CENOTE_BENCH_QUESTIONS, one a line), limit 10.
local threads = 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
function init(args)
	questions = {}
	for line in io.lines(os.getenv("CENOTE_BENCH_QUESTIONS")) do questions[#questions + 1] = line end
	n = id * 131
	wrk.headers["Content-Type"] = "application/json"
end
function request()
	n = n + 1
	return wrk.format("POST", "/store/items/search", nil, '{"namespace_prefix":["bench","words"],"limit":10,"query":"' .. questions[n % #questions + 1] .. '"}')
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
