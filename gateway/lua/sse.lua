-- The stream as OpenAI's clients read it. The transcoder hands on whole frames, `data: {…}\n\n`,
-- one or more in a body chunk and never a part of one. Nothing below can be met in a text: within a
-- JSON string every quote has a backslash before it, and no line ends.

local KEEPALIVE = 'data: {"keepalive":true}\n\n'
local DONE = "data: {}\n\n"
-- A list's last member, so that it can't be free JSON, whose objects would still have to be closed.
local EMPTY_DATA = '"empty_data":null}'

-- Replaces the markers of empty lists, which ProtoJSON can't print.
local function with_empty_lists(text)
  text = text:gsub('"empty_choices":null}\n\n', '"choices":[]}\n\n') -- at a frame's end no free JSON can stand
  if text:sub(-#EMPTY_DATA) == EMPTY_DATA then
    text = text:sub(1, -#EMPTY_DATA - 1) .. '"data":[]}'
  end
  return (text:gsub('"empty_top_logprobs":null}', '"top_logprobs":[]}'))
end

-- What the client sees of a body chunk; nil where that is the chunk itself.
local function rewritten(text)
  local changed = false
  if text:sub(-#DONE) == DONE then
    text = text:sub(1, -#DONE - 1) .. "data: [DONE]\n\n"
    changed = true
  end
  if text:find(KEEPALIVE, 1, true) then
    text = text:gsub('data: {"keepalive":true}\n\n', ": keepalive\n\n")
    changed = true
  end
  if text:find('"empty_', 1, true) then
    text = with_empty_lists(text)
    changed = true
  end
  return changed and text or nil
end
