#!lua flags=allow-oom
-- Keeps leases of a unary worker alive.
-- from: RUNNING. to: RUNNING
-- args: lease in ms, then the id and the nonce of each lease
-- returns: for each lease when it now ends, or 0 if it is not the caller's
local now, reply = now_ms(), {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local h = read(id)
  if h and admitted(h, 'n' .. ARGV[i + 1]) then
    local expire = now + ARGV[2]
    -- A lease that a stream holds is kept alive by the stream.
    if h[OWNER] == NO_SERVER then
      h[LEASE_EXPIRE_MS] = expire
      write(id, h)
      arm(id, h)
    end
    reply[#reply + 1] = expire
  else
    reply[#reply + 1] = 0
  end
end
commit()
return reply
