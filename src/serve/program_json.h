// A program of the engine as GET /api/status, GET /v1/session/ID and the page's programs view tell it: its calls with
// their states, times and token counts; no text of prompts or answers.
#pragma once

#include "base/json_fwd.h"
#include "engine/program.h"

namespace lathe::serve {

// A call is queued or running.
bool at_work(const engine::Program& program);

// {"seconds", "state", "nodes"}; times are seconds since `began`.
Json program_json(const engine::Program& program, engine::NodeProgress::Clock::time_point began);

}  // namespace lathe::serve
