#!lua flags=allow-oom
-- Leases the next ready executions of a queue, as many as the bounds of the task and the project allow.
-- from: QUEUED. to: RUNNING
-- args: queue ref, task ref, project ref, unary lease in ms (0: a stream's), then a nonce and a worker for each lease wanted
-- returns: whether the queue may hold more (1 or 0), how many ms to wait before asking again (0: no bound was met), then
--   the id and the record of each lease
local queue, task_ref, project_ref, lease_ms = P .. 'q:' .. ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local now, slot, reply, unreadable = now_ms(), 6, {1, 0}, {}
local allowed = math.floor((#ARGV - 5) / 2)

-- When the next attempt may start if the last ones were spread evenly: the state of the generic cell rate algorithm.
local function next_start(ref)
  return math.max(tonumber(redis.call('GET', P .. 'rl:' .. ref) or 0), now)
end

-- Lowers what is allowed to what the bounds of a task or a project leave.
local function bound(ref, limits)
  if limits.max_concurrency then
    local free = limits.max_concurrency - redis.call('SCARD', P .. 'c:' .. ref)
    -- Who ends an attempt tells; the wait is for the case that this is lost.
    if free < allowed then allowed, reply[2] = math.max(free, 0), 1000 end
  end
  if limits.rate_count then
    local interval = limits.rate_ms / limits.rate_count
    local start = next_start(ref)
    local free = math.max(math.floor((now + limits.rate_ms - start) / interval + 1e-6), 0)
    if free < allowed then
      allowed, reply[2] = free, math.max(math.ceil(start + (free + 1) * interval - limits.rate_ms - now), 1)
    end
  end
end

-- Notes that so many attempts start.
local function spend(ref, limits, count)
  if limits.rate_count and count > 0 then
    local start = next_start(ref) + count * limits.rate_ms / limits.rate_count
    redis.call('SET', P .. 'rl:' .. ref, ('%.3f'):format(start), 'PX', math.ceil(start - now) + 1)
  end
end

local task, project = known('t:', task_ref), known('p:', project_ref)
bound(task_ref, task)
bound(project_ref, project)
local leased = 0
while leased < allowed do
  local taken = redis.call('ZPOPMIN', queue, allowed - leased)
  if #taken == 0 then
    reply[1], reply[2] = 0, 0
    break
  end
  for i = 1, #taken, 2 do AHEAD[#AHEAD + 1] = taken[i] end
  for i = 1, #taken, 2 do
    local id = taken[i]
    local readable, h = pcall(read, id)
    -- The record decides, whatever the queue says.
    if not readable then
      unreadable[#unreadable + 1] = id
    elseif h and h[STATE] == QUEUED and h[NOT_BEFORE_MS] == 0 then
      enter(h, RUNNING)
      lease(id, h, ARGV[slot], ARGV[slot + 1], lease_ms, now)
      if task.max_concurrency then
        h[FLAGS] = bit.bor(h[FLAGS], TASK_LIMITED)
        include(P .. 'c:' .. task_ref, id, true)
      end
      if project.max_concurrency then
        h[FLAGS] = bit.bor(h[FLAGS], PROJECT_LIMITED)
        include(P .. 'c:' .. project_ref, id, true)
      end
      reply[#reply + 1] = id
      reply[#reply + 1] = write(id, h)
      arm(id, h)
      announce(id, h)
      slot, leased = slot + 2, leased + 1
    end
  end
end
-- Left to a server that can read them, behind what we can.
for _, id in ipairs(unreadable) do score(queue, id, now * 1000) end
spend(task_ref, task, leased)
spend(project_ref, project, leased)
commit()
return reply
