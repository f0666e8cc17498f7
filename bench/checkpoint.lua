-- wrk: POST /cenote/v1/checkpoints (docs/checkpoints.md). CENOTE_BENCH_OP=put: a checkpoint of about 1 KB with one value of 400 bytes, ids ascending,
-- in 64 threads in turn; get: the latest of one of 64 threads; list: its newest 20.
local threads, n = 0, 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
local function frame(head, rest)
	local k = #head
	local body = string.char(k % 256, math.floor(k / 256) % 256, math.floor(k / 65536) % 256, 0) .. head .. rest
	return "POST /cenote/v1/checkpoints HTTP/1.1\r\nHost: " .. wrk.host ..
		"\r\nContent-Type: application/vnd.cenote.frames\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end
function init(args)
	run = string.format("%012x", tonumber(args[1] or "0") % 281474976710656)
	op = os.getenv("CENOTE_BENCH_OP")
	value = string.rep("Ahoy from the harbour; the ferry is late again. ", 9):sub(1, 400)
	gets = {}
	local rest = op == "list" and '","limit":20}]}' or '"}]}'
	for i = 0, 63 do gets[i] = frame('{"ops":[{"op":"' .. op .. '","thread":"bench-' .. i .. rest, "") end
end
local function put()
	n = n + 1
	local version = string.format('"%032d.0.%016d"', n, n)
	local id = string.format("1f1e%04x-%04x-6%03x-8%03x-%s", math.floor(n / 268435456) % 65536, math.floor(n / 4096) % 65536, n % 4096, id, run)
	return frame('{"ops":[{"op":"put","thread":"bench-' .. n % 64 .. '","ns":"","id":"' .. id .. '","checkpoint":{"v":4,"id":"' .. id ..
		'","ts":"2026-11-21T12:40:08.162879+00:00","versions_seen":{"model":{"branch:to:model":' .. version .. '},"__input__":{},"__start__":{"__start__":' ..
		version .. '}},"channel_values":{"branch:to:model":null},"channel_versions":{"messages":' .. version .. ',"__start__":' .. version ..
		',"branch:to:model":' .. version .. '},"updated_channels":["branch:to:model","messages"]},"metadata":{"step":' .. n ..
		',"source":"loop","parents":{}},"values":[["messages",' .. version .. ',"bytes",' .. #value .. "]]}]}", value)
end
function request()
	if op == "put" then return put() end
	n = n + 1
	return gets[n % 64]
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
