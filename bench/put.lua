-- wrk: PUT /store/items, a new key each time (ascending; in random order with CENOTE_BENCH_RANDOM=1), values of about 1 KB (file in CENOTE_BENCH_VALUES, one JSON object a line).
local values, threads = {}, 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
function init(args)
	-- Everything but namespace and key is put together beforehand: the generator shares the machine with the server.
	for line in io.lines(os.getenv("CENOTE_BENCH_VALUES")) do values[#values + 1] = '","value":' .. line .. "}" end
	n = 0
	random = os.getenv("CENOTE_BENCH_RANDOM") == "1"
	math.randomseed(id * 104729 + 7)
	first = '{"namespace":["bench","n'
	second = '"],"key":"' .. (args[1] or "r") .. "-" .. id .. "-"
	local rest = #first + 2 + #second + 9
	head = "PUT /store/items HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nContent-Type: application/json\r\nContent-Length: "
	for i, v in ipairs(values) do values[i] = { head .. (rest + #v) .. "\r\n\r\n" .. first, v } end
end
function request()
	n = n + 1
	local v = values[n % #values + 1]
	local key = random and math.random(100000000, 999999999) or 100000000 + n
	return v[1] .. (10 + n % 50) .. second .. key .. v[2]
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
