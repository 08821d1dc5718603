// Scales between layers that change nothing: what divides a linear layer's input is folded into whatever produced that
// input, exactly (Xiao et al. 2023, SmoothQuant, section 4; Lin et al. 2024, AWQ, section 3.2).
#pragma once

#include <string>
#include <vector>

#include "quant/layer_work.h"

namespace lathe::quant {

// Where the input of some linear operations comes from, and what a scale of its columns is folded into.
struct ScaleSite {
  std::string input;            // the linear whose statistics are those of the whole input
  Linears consumers;            // every linear that reads it, or a choice of its rows, and is to be rounded
  Linears routers;              // those that read it and are not
  std::string norm;             // the norm that makes it, without ".weight", or
  std::string linear;           // the linear whose output rows pass into it one to one
  std::uint64_t first_row = 0;  // of that linear
  // Columns of the input that come from the same row share one scale: shares_of[column] = row. Several columns of one
  // row occur where query heads share a value head.
  std::vector<std::uint32_t> row_of;
  bool norm_bias = false, linear_bias = false;
  bool through_attention = false;  // the linear makes values that attention averages
};

// Every input of the layer's linears whose scale can be folded. The rest (rows of a layer behind a non-linear
// activation, outputs of linears with several readers) is left out. Between an expert's up and down projection is a
// site of its own.
std::vector<ScaleSite> scale_sites(const LayerWork& work);

// Divides the input's columns by `scale` and multiplies the consumers' columns; columns of one row must have equal
// scales. Statistics of the input follow.
void fold_scale(LayerWork& work, const ScaleSite& site, const std::vector<float>& scale);

// The geometric mean over the columns that share a row.
void tie_scale(const ScaleSite& site, std::vector<float>& scale);

}  // namespace lathe::quant
