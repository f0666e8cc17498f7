-- wrk: GET /store/items of keys that are there (CENOTE_BENCH_KEYS of them, k0..).
local threads = 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
function init(args)
	count = tonumber(os.getenv("CENOTE_BENCH_KEYS"))
	spread = tonumber(os.getenv("CENOTE_BENCH_SPREAD") or "50")
	math.randomseed(id * 7919 + 1)
end
function request()
	local i = math.random(0, count - 1)
	return wrk.format("GET", "/store/items?namespace=bench.g" .. (i % spread) .. "&key=k" .. i)
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
