"""Time without waiting: everything that Redis holds is moved into the past."""

from __future__ import annotations

from lacewing_server.store.redis.scripts import prelude
from lacewing_server.store.redis.store import Store

_MOVE = """
local ms = tonumber(ARGV[2])
local function shift_scores(key, by)
  local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do redis.call('ZADD', key, ('%.0f'):format(entries[i + 1] - by), entries[i]) end
end
for _, key in ipairs(redis.call('KEYS', P .. '*')) do
  local name = key:sub(#P + 1)
  if name:sub(1, 2) == 'x:' then
    local h = read(name:sub(3))
    for _, time in ipairs({CREATE_MS, QUEUED_MS, START_MS, END_MS, NOT_BEFORE_MS, DEADLINE_MS, LEASE_EXPIRE_MS}) do
      if h[time] > 0 then h[time] = h[time] - ms end
    end
    local header = struct.pack(HEADER, unpack(h, 1, OUTCOME_LENGTH))
    redis.call('SET', key, header .. h.value:sub(HEADER_BYTES + 1), 'KEEPTTL')
  elseif name == 'timer' or name == 'me' or ({['ix:'] = 1, ['mx:'] = 1, ['ml:'] = 1})[name:sub(1, 3)] then
    shift_scores(key, ms)
  elseif name:sub(1, 2) == 'q:' then
    shift_scores(key, ms * 1000)
  elseif name:sub(1, 3) == 'rl:' then
    redis.call('SET', key, redis.call('GET', key) - ms, 'KEEPTTL')
  end
  -- The lease of a server is renewed by the running server, in real time.
  local life = redis.call('PTTL', key)
  if life > 0 and name:sub(1, 7) ~= 'server:' then
    if life > ms then redis.call('PEXPIRE', key, life - ms) else redis.call('DEL', key) end
  end
end
"""


def command(prefix: bytes, seconds: float) -> tuple[bytes | str | int, ...]:
    """The command that makes it so much later, for everything that the scripts compare with the time of Redis."""
    return ("EVAL", prelude() + _MOVE, 1, prefix, b"time-machine", round(seconds * 1000))


async def advance(store: Store, seconds: float) -> None:
    """Makes it so much later for a store."""
    await store.call(*command(store.keys.prefix, seconds))
