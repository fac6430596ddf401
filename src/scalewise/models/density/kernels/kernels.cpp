// The products of the density network and their first derivatives, in tiles of atoms that stay in
// the cache of the processor.
//
// The same functions as in layers.py and network.py, which are the reference. Sizes and the tables
// of the sphere grid are constants of SCALEWISE_TABLES, which build.py writes: every loop over
// channels has a known length. Arrays are contiguous, atoms first. Each function of the network has
// a function of the same name here, and one ending in _back, which gives the derivatives. What they
// leave to their callers is null. Compiled with SCALEWISE_LIBRARY, they are a table of functions,
// else each has a wrapper for the C interface of PyTorch's compiled programs.

#ifndef SCALEWISE_LIBRARY
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <vector>

#include SCALEWISE_TABLES  // real, FAR, LMAX, CHANNELS, HIDDEN, BESSEL, CUTOFF, WIDTH,
                           // LANES, FULL, POINTS, VALUES, BACK, NORM, HARMONIC, PAIR_*, SCREENING

namespace {

constexpr int K = (LMAX + 1) * (LMAX + 1);            // components of a function on the sphere
constexpr int C = CHANNELS, H = HIDDEN, B = BESSEL;   // channels, hidden, Bessel functions
constexpr int INVARIANTS = C * (1 + 4 * (LMAX + 1));  // of an atom and layer
constexpr int TILE = 12;                              // atoms that are worked on at a time
constexpr int WIDE = TILE * C;

constexpr int padded(int n) { return (n + FULL - 1) / FULL * FULL; }
constexpr int KP = padded(K);

// ------------------------------------------------------------------------------------------------
// matrix products

// a part of the channels, and a whole register: of pairs, and of products that are wide enough
typedef real vec __attribute__((vector_size(LANES * sizeof(real))));
typedef real full __attribute__((vector_size(FULL * sizeof(real))));

template <class Vec = vec> inline Vec load(const real *p)
{
  Vec v;
  std::memcpy(&v, p, sizeof(Vec));
  return v;
}

template <class Vec> inline void store(real *p, Vec v) { std::memcpy(p, &v, sizeof(Vec)); }

// let the processor fetch a row of channels
inline void ask(const real *row)
{
  for (int c = 0; c < C; c += 64 / int(sizeof(real))) __builtin_prefetch(row + c);
}

inline real total(vec v)
{
  real sum = 0;
  for (int i = 0; i < LANES; i++) sum += v[i];
  return sum;
}

// c (+)= a b of ROWS rows and VECS vectors of columns, which stay in registers
template <class Vec, int ROWS, int VECS>
inline void block(int k, const real *a, int64_t row, int64_t column, const real *b, int64_t ldb,
                  real *c, int64_t ldc, bool add)
{
  constexpr int N = sizeof(Vec) / sizeof(real);
  Vec sum[ROWS][VECS];
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECS; j++)
      sum[i][j] = add ? load<Vec>(c + i * ldc + j * N) : Vec{};
  for (int p = 0; p < k; p++) {
    Vec right[VECS];
    for (int j = 0; j < VECS; j++) right[j] = load<Vec>(b + p * ldb + j * N);
    for (int i = 0; i < ROWS; i++) {
      const real left = a[i * row + p * column];
      for (int j = 0; j < VECS; j++) sum[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECS; j++) store(c + i * ldc + j * N, sum[i][j]);
}

template <class Vec, int ROWS, int VECS>
inline void columns(int m, int k, const real *a, int64_t row, int64_t column, const real *b,
                    int64_t ldb, real *c, int64_t ldc, bool add)
{
  int i = 0;
  for (; i + ROWS <= m; i += ROWS)
    block<Vec, ROWS, VECS>(k, a + i * row, row, column, b, ldb, c + i * ldc, ldc, add);
  if constexpr (ROWS > 1) {
    if (i < m)
      columns<Vec, ROWS / 2, VECS>(m - i, k, a + i * row, row, column, b, ldb, c + i * ldc, ldc,
                                   add);
  }
}

// c[m, n] (+)= a[m, k] b[k, n]; a(i, p) lies at i row + p column, and n is a multiple of LANES
inline void multiply(int m, int n, int k, const real *a, int64_t row, int64_t column,
                     const real *b, int64_t ldb, real *c, int64_t ldc, bool add = false)
{
  int j = 0;
  for (; j + 4 * FULL <= n; j += 4 * FULL)
    columns<full, 6, 4>(m, k, a, row, column, b + j, ldb, c + j, ldc, add);
  for (; j + 2 * FULL <= n; j += 2 * FULL)
    columns<full, 8, 2>(m, k, a, row, column, b + j, ldb, c + j, ldc, add);
  for (; j + FULL <= n; j += FULL)
    columns<full, 8, 1>(m, k, a, row, column, b + j, ldb, c + j, ldc, add);
  for (; j < n; j += LANES) columns<vec, 8, 1>(m, k, a, row, column, b + j, ldb, c + j, ldc, add);
}

// the transpose of [rows, columns], its rows padded with zeros to a length
std::vector<real> transposed(const real *a, int rows, int columns, int length)
{
  std::vector<real> t(int64_t(columns) * length, real(0));
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) t[j * length + i] = a[i * columns + j];
  return t;
}

// one matrix after another [count, rows, columns], each transposed
std::vector<real> each_transposed(const real *a, int count, int rows, int columns)
{
  std::vector<real> t;
  for (int l = 0; l < count; l++) {
    const auto one = transposed(a + l * rows * columns, rows, columns, rows);
    t.insert(t.end(), one.begin(), one.end());
  }
  return t;
}

// one part of the atoms for each thread that PyTorch may use, if they are worth it
int64_t parts_of(int64_t n)
{
  constexpr int64_t LEAST = 64;  // atoms of a part: starting threads takes as long as a few atoms
#ifdef _OPENMP
  return std::max<int64_t>(1, std::min<int64_t>(omp_get_max_threads(), n / LEAST));
#else
  return 1;
#endif
}

// where a part begins: parts have whole tiles, so that rounding does not depend on their number
int64_t bound(int64_t part, int64_t n, int64_t parts)
{
  const int64_t tiles = (n + TILE - 1) / TILE;
  return std::min<int64_t>(n, part * tiles / parts * TILE);
}

template <class Work> void in_parts(int64_t n, int64_t parts, const Work &work)
{
  if (parts == 1) {
    work(0, 0, n);
    return;
  }
#pragma omp parallel for num_threads(int(parts)) schedule(static)
  for (int64_t part = 0; part < parts; part++)
    work(part, bound(part, n, parts), bound(part + 1, n, parts));
}

template <class Work> void in_parts(int64_t n, const Work &work)
{
  in_parts(n, parts_of(n), [&](int64_t, int64_t begin, int64_t end) { work(begin, end); });
}

// sums over all atoms: each part has its own, and they are added in the order of the parts
template <class Number> class Sums {
 public:
  Sums(Number *sums, int64_t length, int64_t parts)
      : to(sums), size(length), others(sums ? size_t((parts - 1) * length) : 0, Number(0))
  {
    if (to) std::fill_n(to, size, Number(0));
  }

  Number *of(int64_t part)
  {
    if (!to || part == 0) return to;
    return others.data() + (part - 1) * size;
  }

  void add_up()
  {
    if (others.empty()) return;
    in_parts(size, parts_of(size / 64), [&](int64_t, int64_t begin, int64_t end) {
      for (const Number *from = others.data(); from != others.data() + others.size(); from += size)
        for (int64_t i = begin; i < end; i++) to[i] += from[i];
    });
  }

 private:
  Number *to;
  int64_t size;
  std::vector<Number> others;
};

// ------------------------------------------------------------------------------------------------
// functions on the sphere

constexpr int degree(int k)
{
  int l = 0;
  while ((l + 1) * (l + 1) <= k) l++;
  return l;
}

constexpr int count_even()
{
  int n = 0;
  for (int k = 0; k < K; k++) n += degree(k) % 2 == 0;
  return n;
}

// Functions of even degree are the same at opposite points, those of odd degree change their sign:
// half of the points of the grid are enough. Components of even degree come first in a tile.
constexpr int EVEN = count_even(), ODD = K - EVEN;

struct Places {
  int at[K];
};

constexpr Places places()
{
  Places found{};
  int even = 0, odd = EVEN;
  for (int k = 0; k < K; k++) found.at[k] = degree(k) % 2 == 0 ? even++ : odd++;
  return found;
}

constexpr Places PLACE = places();

inline real logistic(real x) { return real(1) / (real(1) + std::exp(-x)); }
inline real silu(real x) { return x * logistic(x); }

inline real silu_slope(real x)
{
  const real y = logistic(x);
  return y * (real(1) + x * (real(1) - y));
}

// the functions a and b of the atoms of a tile, their product, their values on the grid
struct Tile {
  real a[K * WIDE], b[K * WIDE], product[K * WIDE];
  real a_even[POINTS * WIDE], a_odd[POINTS * WIDE], b_even[POINTS * WIDE], b_odd[POINTS * WIDE];
  real invariants[TILE * std::max(INVARIANTS, H)], hidden[TILE * H];

  void on_grid(int atoms)
  {
    const int n = atoms * C;
    multiply(POINTS, n, EVEN, VALUES, K, 1, a, WIDE, a_even, WIDE);
    multiply(POINTS, n, ODD, VALUES + EVEN, K, 1, a + EVEN * WIDE, WIDE, a_odd, WIDE);
    multiply(POINTS, n, EVEN, VALUES, K, 1, b, WIDE, b_even, WIDE);
    multiply(POINTS, n, ODD, VALUES + EVEN, K, 1, b + EVEN * WIDE, WIDE, b_odd, WIDE);
  }

  // the invariants of an atom before they are bounded; returns the factor that bounds them
  real describe(int atom)
  {
    real *to = invariants + atom * INVARIANTS;
    for (int c = 0; c < C; c += LANES) store(to + c, load(a + PLACE.at[0] * WIDE + atom * C + c));
    for (int l = 0; l <= LMAX; l++) {
      const real scale = real(1) / std::sqrt(real(2 * l + 1));
      for (int c = 0; c < C; c += LANES) {
        vec aa{}, pa{}, pb{}, pp{};
        for (int k = l * l; k < (l + 1) * (l + 1); k++) {
          const int at = PLACE.at[k] * WIDE + atom * C + c;
          const vec x = load(a + at), y = load(b + at), p = load(product + at);
          aa += x * x;
          pa += p * x;
          pb += p * y;
          pp += p * p;
        }
        real *here = to + C + l * 4 * C + c;
        store(here, scale * aa);
        store(here + C, scale * pa);
        store(here + 2 * C, scale * pb);
        store(here + 3 * C, scale * pp);
      }
    }
    vec sum{};
    for (int c = 0; c < INVARIANTS; c += LANES) sum += load(to + c) * load(to + c);
    return real(1) / std::sqrt(real(1) + total(sum) / INVARIANTS);
  }
};

// ------------------------------------------------------------------------------------------------
// ProductLayer: features [n, K, C], mix [LMAX+1, C, 2 C], first [H, INVARIANTS], second [H, H]

// of the atoms of a tile; weights of linear layers are transposed
void product_of(int64_t start, int atoms, Tile &tile, const real *features, const real *mix,
                const real *first_t, const real *bias, const real *second_t,
                const real *second_bias, real *scalars, real *field, real *other, real *result,
                real *before_first, real *before_second, real *factor)
{
  for (int k = 0; k < K; k++) {
    const real *x = features + (start * K + k) * C, *w = mix + degree(k) * C * 2 * C;
    multiply(atoms, C, C, x, K * C, 1, w, 2 * C, tile.a + PLACE.at[k] * WIDE, C);
    multiply(atoms, C, C, x, K * C, 1, w + C, 2 * C, tile.b + PLACE.at[k] * WIDE, C);
  }
  tile.on_grid(atoms);
  for (int g = 0; g < POINTS; g++)
    for (int c = g * WIDE; c < g * WIDE + atoms * C; c += LANES) {
      const vec ae = load(tile.a_even + c), ao = load(tile.a_odd + c);
      const vec be = load(tile.b_even + c), bo = load(tile.b_odd + c);
      store(tile.a_even + c, ae * be + ao * bo);
      store(tile.a_odd + c, ae * bo + ao * be);
    }
  multiply(EVEN, atoms * C, POINTS, BACK, 1, K, tile.a_even, WIDE, tile.product, WIDE);
  multiply(ODD, atoms * C, POINTS, BACK + EVEN, 1, K, tile.a_odd, WIDE,
           tile.product + EVEN * WIDE, WIDE);
  for (int i = 0; i < atoms; i++) {
    vec sum{};
    for (int k = 0; k < K; k++)
      for (int c = 0; c < C; c += LANES) {
        const vec p = load(tile.product + k * WIDE + i * C + c);
        sum += p * p;
      }
    const real bound = real(1) / std::sqrt(real(1) + total(sum) / (K * C));
    factor[start + i] = bound;
    for (int k = 0; k < K; k++)
      for (int c = 0; c < C; c += LANES) {
        const int64_t to = ((start + i) * K + k) * C + c;
        const int at = PLACE.at[k] * WIDE + i * C + c;
        const vec p = bound * load(tile.product + at);
        store(tile.product + at, p);
        store(result + to, p);
        store(field + to, load(tile.a + at));
        store(other + to, load(tile.b + at));
      }
    const real small = tile.describe(i);
    real *x = tile.invariants + i * INVARIANTS;
    for (int c = 0; c < INVARIANTS; c += LANES) store(x + c, small * load(x + c));
  }
  real *z = before_first + start * H;
  std::memcpy(z, bias + start * H, atoms * H * sizeof(real));
  multiply(atoms, H, INVARIANTS, tile.invariants, INVARIANTS, 1, first_t, H, z, H, true);
  for (int c = 0; c < atoms * H; c++) tile.hidden[c] = silu(z[c]);
  z = before_second + start * H;
  for (int i = 0; i < atoms; i++) std::memcpy(z + i * H, second_bias, H * sizeof(real));
  multiply(atoms, H, H, tile.hidden, H, 1, second_t, H, z, H, true);
  for (int c = 0; c < atoms * H; c++) scalars[start * H + c] = silu(z[c]);
}

void product(int64_t n, const real *features, const real *mix, const real *first, const real *bias,
             const real *second, const real *second_bias, real *scalars, real *field, real *other,
             real *result, real *before_first, real *before_second, real *factor)
{
  const auto first_t = transposed(first, H, INVARIANTS, H), second_t = transposed(second, H, H, H);
  in_parts(n, [&](int64_t begin, int64_t end) {
    const auto tile = std::make_unique<Tile>();
    for (int64_t start = begin; start < end; start += TILE) {
      const int atoms = int(std::min<int64_t>(TILE, end - start));
      product_of(start, atoms, *tile, features, mix, first_t.data(), bias, second_t.data(),
                 second_bias, scalars, field, other, result, before_first, before_second, factor);
    }
  });
}

// of the atoms of a tile; sums over atoms are added to
void product_back_of(int64_t start, int atoms, Tile &tile, Tile &slope, const real *d_scalars,
                     const real *d_field, const real *d_result, const real *field,
                     const real *other, const real *result, const real *before_first,
                     const real *before_second, const real *factor, const real *mix_t,
                     const real *first, const real *second, real *d_features, real *d_bias,
                     const real *features = nullptr, real *to_mix = nullptr,
                     real *to_first = nullptr, real *to_second = nullptr, real *to_bias = nullptr)
{
  const real *z = before_second + start * H;
  for (int c = 0; c < atoms * H; c++)
    tile.hidden[c] = d_scalars[start * H + c] * silu_slope(z[c]);
  multiply(atoms, H, H, tile.hidden, H, 1, second, H, slope.hidden, H);
  z = before_first + start * H;
  if (to_second) {
    for (int i = 0; i < atoms; i++)
      for (int c = 0; c < H; c++) to_bias[c] += tile.hidden[i * H + c];
    // the invariants are not there yet: their place holds what the second layer reads
    for (int c = 0; c < atoms * H; c++) tile.invariants[c] = silu(z[c]);
    multiply(H, H, atoms, tile.hidden, 1, H, tile.invariants, H, to_second, H, true);
  }
  for (int c = 0; c < atoms * H; c++)
    d_bias[start * H + c] = slope.hidden[c] = slope.hidden[c] * silu_slope(z[c]);
  multiply(atoms, INVARIANTS, H, slope.hidden, H, 1, first, INVARIANTS, slope.invariants,
           INVARIANTS);
  for (int i = 0; i < atoms; i++) {
    for (int k = 0; k < K; k++)
      for (int c = 0; c < C; c += LANES) {
        const int64_t from = ((start + i) * K + k) * C + c;
        const int at = PLACE.at[k] * WIDE + i * C + c;
        store(tile.a + at, load(field + from));
        store(tile.b + at, load(other + from));
        store(tile.product + at, load(result + from));
      }
    // of y = s x, s = (1 + <x²>)^(-1/2): dx = s dy - s³ <x dy> x
    const real small = tile.describe(i);
    const real *x = tile.invariants + i * INVARIANTS;
    real *dx = slope.invariants + i * INVARIANTS;
    vec along{};
    for (int c = 0; c < INVARIANTS; c += LANES) along += load(x + c) * load(dx + c);
    const real pull = small * small * small * total(along) / INVARIANTS;
    for (int c = 0; c < INVARIANTS; c += LANES)
      store(dx + c, small * load(dx + c) - pull * load(x + c));
    for (int c = 0; c < INVARIANTS && to_first; c += LANES)
      store(tile.invariants + i * INVARIANTS + c, small * load(x + c));
    along = vec{};
    for (int l = 0; l <= LMAX; l++) {
      const real scale = real(1) / std::sqrt(real(2 * l + 1));
      for (int c = 0; c < C; c += LANES) {
        const real *from = dx + C + l * 4 * C + c;
        const vec aa = 2 * scale * load(from), pa = scale * load(from + C);
        const vec pb = scale * load(from + 2 * C), pp = 2 * scale * load(from + 3 * C);
        for (int k = l * l; k < (l + 1) * (l + 1); k++) {
          const int at = PLACE.at[k] * WIDE + i * C + c;
          const int64_t to = ((start + i) * K + k) * C + c;
          const vec a = load(tile.a + at), b = load(tile.b + at);
          const vec p = load(tile.product + at);
          vec da = aa * a + pa * p + load(d_field + to);
          if (k == 0) da += load(dx + c);
          const vec dp = pa * a + pb * b + pp * p + load(d_result + to);
          store(slope.a + at, da);
          store(slope.b + at, pb * p);
          store(slope.product + at, dp);
          along += p * dp;
        }
      }
    }
    const real bound = factor[start + i], back = bound * total(along) / (K * C);
    for (int k = 0; k < K; k++)
      for (int c = 0; c < C; c += LANES) {
        const int at = k * WIDE + i * C + c;
        store(slope.product + at,
              bound * load(slope.product + at) - back * load(tile.product + at));
      }
  }
  const int wide = atoms * C;
  if (to_first)
    multiply(H, INVARIANTS, atoms, slope.hidden, 1, H, tile.invariants, INVARIANTS, to_first,
             INVARIANTS, true);
  tile.on_grid(atoms);
  multiply(POINTS, wide, EVEN, BACK, K, 1, slope.product, WIDE, slope.a_even, WIDE);
  multiply(POINTS, wide, ODD, BACK + EVEN, K, 1, slope.product + EVEN * WIDE, WIDE,
           slope.a_odd, WIDE);
  for (int g = 0; g < POINTS; g++)
    for (int c = g * WIDE; c < g * WIDE + wide; c += LANES) {
      const vec ae = load(tile.a_even + c), ao = load(tile.a_odd + c);
      const vec be = load(tile.b_even + c), bo = load(tile.b_odd + c);
      const vec even = load(slope.a_even + c), odd = load(slope.a_odd + c);
      store(slope.a_even + c, even * be + odd * bo);
      store(slope.a_odd + c, even * bo + odd * be);
      store(slope.b_even + c, even * ae + odd * ao);
      store(slope.b_odd + c, even * ao + odd * ae);
    }
  multiply(EVEN, wide, POINTS, VALUES, 1, K, slope.a_even, WIDE, slope.a, WIDE, true);
  multiply(ODD, wide, POINTS, VALUES + EVEN, 1, K, slope.a_odd, WIDE, slope.a + EVEN * WIDE,
           WIDE, true);
  multiply(EVEN, wide, POINTS, VALUES, 1, K, slope.b_even, WIDE, slope.b, WIDE, true);
  multiply(ODD, wide, POINTS, VALUES + EVEN, 1, K, slope.b_odd, WIDE, slope.b + EVEN * WIDE,
           WIDE, true);
  for (int k = 0; k < K; k++) {
    const real *w = mix_t + degree(k) * 2 * C * C;
    real *to = d_features + (start * K + k) * C;
    multiply(atoms, C, C, slope.a + PLACE.at[k] * WIDE, C, 1, w, C, to, K * C);
    multiply(atoms, C, C, slope.b + PLACE.at[k] * WIDE, C, 1, w + C * C, C, to, K * C, true);
    if (!to_mix) continue;
    const real *x = features + (start * K + k) * C;
    real *here = to_mix + degree(k) * C * 2 * C;
    multiply(C, C, atoms, x, 1, K * C, slope.a + PLACE.at[k] * WIDE, C, here, 2 * C, true);
    multiply(C, C, atoms, x, 1, K * C, slope.b + PLACE.at[k] * WIDE, C, here + C, 2 * C, true);
  }
}

void product_back(int64_t n, const real *d_scalars, const real *d_field, const real *d_result,
                  const real *field, const real *other, const real *result,
                  const real *before_first, const real *before_second, const real *factor,
                  const real *mix, const real *first, const real *second, real *d_features,
                  real *d_bias, const real *features = nullptr, real *d_mix = nullptr,
                  real *d_first = nullptr, real *d_second = nullptr, real *d_second_bias = nullptr)
{
  const auto mix_t = each_transposed(mix, LMAX + 1, C, 2 * C);
  const int64_t parts = parts_of(n);
  Sums<real> of_mix(d_mix, (LMAX + 1) * C * 2 * C, parts), of_first(d_first, H * INVARIANTS, parts);
  Sums<real> of_second(d_second, H * H, parts), of_bias(d_second_bias, H, parts);
  in_parts(n, parts, [&](int64_t part, int64_t begin, int64_t end) {
    real *to_mix = of_mix.of(part), *to_first = of_first.of(part);
    real *to_second = of_second.of(part), *to_bias = of_bias.of(part);
    const auto tile = std::make_unique<Tile>(), slope = std::make_unique<Tile>();
    for (int64_t start = begin; start < end; start += TILE) {
      const int atoms = int(std::min<int64_t>(TILE, end - start));
      product_back_of(start, atoms, *tile, *slope, d_scalars, d_field, d_result, field, other,
                      result, before_first, before_second, factor, mix_t.data(), first, second,
                      d_features, d_bias, features, to_mix, to_first, to_second, to_bias);
    }
  });
  of_mix.add_up();
  of_first.add_up();
  of_second.add_up();
  of_bias.add_up();
}

// ------------------------------------------------------------------------------------------------
// vectors to neighbors: positions [atoms, 3], cell [systems, 3, 3], system [n], index and mask
// [n, slots], shift [n, slots, 3], or none

inline bool crosses(const int32_t *shift) { return (shift[0] | shift[1] | shift[2]) != 0; }

// of one atom
void vectors_of(int64_t i, int64_t slots, const double *positions, const double *cell,
                const int64_t *system, const int64_t *index, const int32_t *shift,
                const bool *mask, real *vectors)
{
  const double *own = positions + 3 * i, *rows = cell + 9 * system[i];
  for (int64_t p = i * slots; p < (i + 1) * slots; p++, vectors += 3) {
    const double *other = positions + 3 * index[p];
    double apart[3] = {other[0] - own[0], other[1] - own[1], other[2] - own[2]};
    // of most pairs these are zeros: a branch that nobody can foresee takes longer
    for (int row = 0; row < 3 && shift; row++)
      for (int axis = 0; axis < 3; axis++) apart[axis] += shift[3 * p + row] * rows[3 * row + axis];
    for (int axis = 0; axis < 3; axis++) vectors[axis] = mask[p] ? real(apart[axis]) : FAR;
  }
}

void make_vectors(int64_t n, int64_t slots, const double *positions, const double *cell,
                  const int64_t *system, const int64_t *index, const int32_t *shift,
                  const bool *mask, real *vectors)
{
  for (int64_t i = 0; i < n; i++)
    vectors_of(i, slots, positions, cell, system, index, shift, mask, vectors + 3 * slots * i);
}

// what the derivative by the vector of a pair p of atom i adds to that by positions
inline void add_slope(int64_t i, int64_t p, const real *slope, const int64_t *index,
                      double *d_positions)
{
  for (int axis = 0; axis < 3; axis++) {
    d_positions[3 * index[p] + axis] += slope[axis];
    d_positions[3 * i + axis] -= slope[axis];
  }
}

void make_vectors_back(int64_t n, int64_t slots, int64_t atoms, int64_t systems,
                       const real *d_vectors, const int64_t *system, const int64_t *index,
                       const int32_t *shift, const bool *mask, double *d_positions, double *d_cell)
{
  std::fill_n(d_positions, 3 * atoms, 0.0);
  std::fill_n(d_cell, 9 * systems, 0.0);
  for (int64_t i = 0; i < n; i++)
    for (int64_t p = i * slots; p < (i + 1) * slots; p++) {
      const real *slope = d_vectors + 3 * p;
      if (!mask[p] || (slope[0] == 0 && slope[1] == 0 && slope[2] == 0)) continue;
      add_slope(i, p, slope, index, d_positions);
      if (!shift || !crosses(shift + 3 * p)) continue;
      for (int row = 0; row < 3; row++)
        for (int axis = 0; axis < 3; axis++)
          d_cell[9 * system[i] + 3 * row + axis] += shift[3 * p + row] * double(slope[axis]);
    }
}

// ------------------------------------------------------------------------------------------------
// functions of distances

constexpr double PI = 3.14159265358979323846;

// sine and cosine of an angle from 0 to pi, then of its multiples: powers of exp(i angle), whose
// errors grow with the multiple, and which are in double precision therefore
struct Turns {
  full sine, cosine;

  explicit Turns(full distance, double speed)
  {
    constexpr int TERMS = sizeof(real) == 4 ? 8 : 12;
    // series in t = angle - pi / 2; sin(angle) = cos t, cos(angle) = -sin t
    const wide t = __builtin_convertvector(distance, wide) * speed - PI / 2, tt = t * t;
    double over_sine = 1, over_cosine = 1;
    double at_sine[TERMS], at_cosine[TERMS];
    for (int n = 0; n < TERMS; n++) {
      at_sine[n] = over_sine;
      at_cosine[n] = over_cosine;
      over_cosine /= -double((2 * n + 1) * (2 * n + 2));
      over_sine /= -double((2 * n + 2) * (2 * n + 3));
    }
    wide sines{}, cosines{};
    for (int n = TERMS - 1; n >= 0; n--) {
      sines = sines * tt + at_sine[n];
      cosines = cosines * tt + at_cosine[n];
    }
    s = first_s = cosines;
    c = first_c = -sines * t;
    round();
  }

  void next()
  {
    const wide turned = s * first_c + c * first_s;
    c = c * first_c - s * first_s;
    s = turned;
    round();
  }

 private:
  typedef double wide __attribute__((vector_size(FULL * sizeof(double))));
  wide s, c, first_s, first_c;

  void round()
  {
    sine = __builtin_convertvector(s, full);
    cosine = __builtin_convertvector(c, full);
  }
};

// radial.py's envelope over the last `over` of a cutoff, or, with zero, over all of it, and its
// derivatives by the distance and the cutoff
struct Ending {
  full value, by_distance, by_reach;

  Ending(full distance, full reach, real over)
  {
    const full zero{}, one = zero + real(1);
    const full inverse = over > 0 ? zero + real(1) / over : one / reach;
    full u = over > 0 ? one + (distance - reach) * inverse : distance * inverse;
    u = u < zero ? zero : u;
    u = u > one ? one : u;
    value = one - u * u * u * (real(10) + u * (real(6) * u - real(15)));
    const full slope = real(-30) * u * u * (one - u) * (one - u);
    by_distance = slope * inverse;
    by_reach = over > 0 ? -slope * inverse : -slope * u * inverse;
  }
};

// ------------------------------------------------------------------------------------------------
// pairs: lists of components [.][width], whose width is a multiple of FULL

struct Pairs {
  int width, found = 0;
  std::vector<int> slot;
  std::vector<real> x, y, z, distance, ending, ending_by_distance, ending_by_reach;
  std::vector<real> harmonics, slopes;

  explicit Pairs(int64_t slots)
      : width(padded(int(slots))), slot(width), x(width), y(width), z(width), distance(width),
        ending(width), ending_by_distance(width), ending_by_reach(width), harmonics(K * width),
        slopes(K * width)
  {
  }

  // keep the pairs of an atom that are nearer than a length; others are padding, or too far away
  void keep(int64_t slots, const real *vectors, real length)
  {
    found = 0;
    for (int64_t s = 0; s < slots; s++) {
      const real *v = vectors + 3 * s;
      // what is not a number is kept, so that it is seen
      if (v[0] * v[0] + v[1] * v[1] + v[2] * v[2] >= length * length) continue;
      x[found] = v[0];
      y[found] = v[1];
      z[found] = v[2];
      slot[found++] = int(s);
    }
    for (int j = found; j < padded(found); j++) {
      x[j] = CUTOFF;
      y[j] = z[j] = real(0);
    }
    for (int j = 0; j < padded(found); j += FULL) {
      const full vx = load<full>(&x[j]), vy = load<full>(&y[j]), vz = load<full>(&z[j]);
      full length = vx * vx + vy * vy + vz * vz;
      for (int i = 0; i < FULL; i++) length[i] = std::sqrt(length[i]);
      store(&distance[j], length);
      store(&x[j], vx / length);
      store(&y[j], vy / length);
      store(&z[j], vz / length);
    }
  }

  // envelopes that end at a cutoff, and their slopes
  void make_endings(real reach)
  {
    for (int j = 0; j < padded(found); j += FULL) {
      const Ending e(load<full>(&distance[j]), full{} + reach, WIDTH);
      store(&ending[j], e.value);
      store(&ending_by_distance[j], e.by_distance);
      store(&ending_by_reach[j], e.by_reach);
    }
  }

  // real spherical harmonics, as spherical.py has them
  void make_harmonics()
  {
    for (int j = 0; j < padded(found); j += FULL) {
      const Polynomials p(load<full>(&x[j]), load<full>(&y[j]), load<full>(&z[j]));
      for (int l = 0; l <= LMAX; l++)
        for (int m = -l; m <= l; m++) {
          const int k = l * l + l + m, order = m < 0 ? -m : m;
          const full azimuth = m < 0 ? p.sine[order] : p.cosine[order];
          store(&harmonics[k * width + j], HARMONIC[k] * p.legendre[l][order] * azimuth);
        }
    }
  }

  // derivatives by the vectors [slots, 3] of slopes by the harmonics, and by the distances
  void back(const real *by_distance, real *d_vectors)
  {
    for (int j = 0; j < padded(found); j += FULL) {
      const full ux = load<full>(&x[j]), uy = load<full>(&y[j]), uz = load<full>(&z[j]);
      const Polynomials p(ux, uy, uz);
      full dx{}, dy{}, dz{};
      for (int l = 0; l <= LMAX; l++)
        for (int m = -l; m <= l; m++) {
          const int k = l * l + l + m, order = m < 0 ? -m : m;
          const full slope = HARMONIC[k] * load<full>(&slopes[k * width + j]);
          const full azimuth = m < 0 ? p.sine[order] : p.cosine[order];
          if (order < l) dz += slope * p.legendre[l][order + 1] * azimuth;
          if (order > 0) {
            // of (x + iy)^m: m (x + iy)^(m-1), and i times that
            const full whole = slope * p.legendre[l][order] * real(order);
            const full c = p.cosine[order - 1], s = p.sine[order - 1];
            dx += whole * (m < 0 ? s : c);
            dy += whole * (m < 0 ? c : -s);
          }
        }
      const full inverse = real(1) / load<full>(&distance[j]);
      const full along = ux * dx + uy * dy + uz * dz;
      full of_distance{};
      if (by_distance) of_distance = load<full>(by_distance + j);
      const full tx = (dx - ux * along) * inverse + ux * of_distance;
      const full ty = (dy - uy * along) * inverse + uy * of_distance;
      const full tz = (dz - uz * along) * inverse + uz * of_distance;
      for (int i = 0; i < FULL && j + i < found; i++) {
        real *to = d_vectors + 3 * slot[j + i];
        to[0] = tx[i];
        to[1] = ty[i];
        to[2] = tz[i];
      }
    }
  }

  // slopes by the harmonics from rows of pairs [found, KP]
  void turn(const real *rows)
  {
    for (int j = 0; j < found; j++)
      for (int k = 0; k < K; k++) slopes[k * width + j] = rows[j * KP + k];
    for (int k = 0; k < K; k++)
      for (int j = found; j < padded(found); j++) slopes[k * width + j] = real(0);
  }

 private:
  // cosine and sine of multiples of the azimuth, times powers of its sine, and derivatives of the
  // Legendre polynomials: the derivative of that of order m is that of order m + 1
  struct Polynomials {
    full cosine[LMAX + 1], sine[LMAX + 1], legendre[LMAX + 1][LMAX + 1];

    Polynomials(full x, full y, full z)
    {
      cosine[0] = full{} + real(1);
      sine[0] = full{};
      for (int m = 0; m < LMAX; m++) {
        cosine[m + 1] = x * cosine[m] - y * sine[m];
        sine[m + 1] = x * sine[m] + y * cosine[m];
      }
      real odd = 1;
      for (int m = 0; m <= LMAX; m++) {
        legendre[m][m] = full{} + odd;
        if (m < LMAX) legendre[m + 1][m] = real(2 * m + 1) * z * legendre[m][m];
        for (int n = m + 2; n <= LMAX; n++)
          legendre[n][m] = (real(2 * n - 1) * z * legendre[n - 1][m] -
                            real(n + m - 1) * legendre[n - 2][m]) *
                           (real(1) / real(n - m));
        odd *= real(2 * m + 1);
      }
    }
  };
};

// spherical Bessel functions b_n = NORM[n] sin(n w r) / r, w = pi / CUTOFF, of the pairs of an atom,
// and their slopes
struct Waves {
  int width;
  std::vector<real> values, slopes;

  explicit Waves(int64_t slots)
      : width(padded(int(slots))), values(B * width), slopes(B * width)
  {
  }

  void make(const Pairs &pairs, bool with_slopes)
  {
    for (int j = 0; j < padded(pairs.found); j += FULL) {
      const full r = load<full>(&pairs.distance[j]), inverse = real(1) / r;
      Turns turns(r, PI / CUTOFF);
      for (int n = 0; n < B; n++) {
        store(&values[n * width + j], NORM[n] * turns.sine * inverse);
        if (with_slopes) store(&slopes[n * width + j], turns.cosine);
        turns.next();
      }
      // apart: in the loop above, this makes the compiler give up whole registers
      for (int n = 0; n < B && with_slopes; n++) {
        const real speed = NORM[n] * real((n + 1) * (PI / CUTOFF));
        const full wave = load<full>(&values[n * width + j]);
        real *slope = &slopes[n * width + j];
        store(slope, (speed * load<full>(slope) - wave) * inverse);
      }
    }
  }
};

// ------------------------------------------------------------------------------------------------
// pair potential: vectors [n, slots, 3], reach [n], first [n], types [atoms], index [n, slots],
// coefficients [kinds, kinds, PAIR_BESSEL], rate, strength and touch [kinds, kinds]

// energies of the pairs of an atom, and their derivatives by distance and by reach, in lists
struct PairPotential {
  std::vector<real> energy, by_distance, by_reach;
  std::vector<int32_t> row;  // of the coefficients

  explicit PairPotential(int width)
      : energy(width), by_distance(width), by_reach(width), row(width, 0)
  {
  }

  // of pairs that are nearer than the reach, which is at most PAIR_CUTOFF
  void evaluate(const Pairs &pairs, real reach, int64_t first, const int64_t *types,
                const int64_t *index, int64_t kinds, const real *coefficients, const real *rate,
                const real *strength, const real *touch)
  {
    for (int j = 0; j < pairs.found; j++)
      row[j] = int32_t(first * kinds + types[index[pairs.slot[j]]]) * PAIR_BESSEL;
    for (int j = pairs.found; j < padded(pairs.found); j++) row[j] = 0;
    for (int j = 0; j < padded(pairs.found); j += FULL) {
      const full r = load<full>(&pairs.distance[j]), inverse = real(1) / r;
      Turns turns(r, PI / PAIR_CUTOFF);
      real sines[PAIR_BESSEL * FULL], cosines[PAIR_BESSEL * FULL], weights[PAIR_BESSEL * FULL];
      for (int n = 0; n < PAIR_BESSEL; n++) {
        store(sines + n * FULL, turns.sine);
        store(cosines + n * FULL, real((n + 1) * (PI / PAIR_CUTOFF)) * turns.cosine);
        turns.next();
      }
      for (int i = 0; i < FULL; i++)
        for (int n = 0; n < PAIR_BESSEL; n++) weights[n * FULL + i] = coefficients[row[j + i] + n];
      full value{}, slope{};
      for (int n = 0; n < PAIR_BESSEL; n++) {
        const full weight = load<full>(weights + n * FULL);
        value += weight * load<full>(sines + n * FULL);
        slope += weight * load<full>(cosines + n * FULL);
      }
      value *= PAIR_NORM * inverse;
      slope = slope * (PAIR_NORM * inverse) - value * inverse;
      const Ending e(r, full{} + reach, real(0));
      store(&energy[j], value * e.value);
      store(&by_distance[j], slope * e.value + value * e.by_distance);
      store(&by_reach[j], value * e.by_reach);
    }
    for (int j = 0; j < pairs.found; j++)
      repel(j, pairs.distance[j], reach, rate, strength, touch);
  }

 private:
  // add the repulsion of nuclei, which few pairs are near enough for
  void repel(int j, real r, real reach, const real *rate, const real *strength, const real *touch)
  {
    const int64_t k = row[j] / PAIR_BESSEL;
    const real end = std::min(touch[k], reach);
    if (r >= end) return;
    real screened = 0, slope = 0;
    for (int term = 0; term < 4; term++) {
      const real part = SCREENING[2 * term] * std::exp(-SCREENING[2 * term + 1] * rate[k] * r);
      screened += part;
      slope -= SCREENING[2 * term + 1] * rate[k] * part;
    }
    const real u = r / end, bare = strength[k] / r;
    const real ending = real(1) - u * u * u * (real(10) + u * (real(6) * u - real(15)));
    const real falling = real(-30) * u * u * (real(1) - u) * (real(1) - u) / end;
    energy[j] += ending * bare * screened;
    by_distance[j] += bare * (falling * screened + ending * (slope - screened / r));
    if (reach < touch[k]) by_reach[j] -= bare * screened * falling * u;
  }
};

// their sums [n], and the derivatives of these by vectors [n, slots, 3] and reach [n]
void pair_energies(int64_t n, int64_t slots, const real *vectors, const real *reach,
                   const int64_t *first, const int64_t *types, const int64_t *index,
                   int64_t kinds, const real *coefficients, const real *rate,
                   const real *strength, const real *touch, real *energies, real *by_vectors,
                   real *by_reach)
{
  std::memset(by_vectors, 0, n * slots * 3 * sizeof(real));
  in_parts(n, [&](int64_t begin, int64_t end) {
    Pairs pairs(slots);
    PairPotential potential(pairs.width);
    for (int64_t i = begin; i < end; i++) {
      pairs.keep(slots, vectors + i * slots * 3, reach[i]);
      potential.evaluate(pairs, reach[i], first[i], types, index + i * slots, kinds, coefficients,
                         rate, strength, touch);
      real sum = 0, ending = 0;
      for (int j = 0; j < pairs.found; j++) {
        const real slope = real(0.5) * potential.by_distance[j];
        real *to = by_vectors + (i * slots + pairs.slot[j]) * 3;
        to[0] = slope * pairs.x[j];
        to[1] = slope * pairs.y[j];
        to[2] = slope * pairs.z[j];
        sum += potential.energy[j];
        ending += potential.by_reach[j];
      }
      energies[i] = real(0.5) * sum;
      by_reach[i] = real(0.5) * ending;
    }
  });
}

// one end of a pair may be rounded to within a cutoff, and the other beyond
constexpr real BEYOND = real(1.001);

// ------------------------------------------------------------------------------------------------
// densities of neighbors: vectors [n, slots, 3], reach [n], radial [1 or n, B, C],
// scale [n, C], table [rows, C], index [n, slots]

struct Densities {
  Pairs pairs;
  std::vector<real> radial, radial_slopes, product;

  explicit Densities(int64_t slots)
      : pairs(slots), radial(slots * C), radial_slopes(slots * C), product(slots * C)
  {
  }

  // the radial functions of the neighbors, and these times what is seen of them
  void gather(Waves &waves, int64_t slots, const real *vectors, real reach, const real *weights,
              const real *table, const int64_t *index, bool with_slopes)
  {
    pairs.keep(slots, vectors, reach);
    // rows lie anywhere: they are asked for long before they are used
    for (int j = 0; j < pairs.found; j++) ask(table + index[pairs.slot[j]] * C);
    pairs.make_endings(reach);
    pairs.make_harmonics();
    waves.make(pairs, with_slopes);
    const int found = pairs.found, width = pairs.width;
    multiply(found, C, B, waves.values.data(), 1, width, weights, C, radial.data(), C);
    if (with_slopes)
      multiply(found, C, B, waves.slopes.data(), 1, width, weights, C, radial_slopes.data(), C);
    for (int j = 0; j < pairs.found; j++) {
      const real *seen = table + index[pairs.slot[j]] * C;
      for (int c = 0; c < C; c += LANES)
        store(&product[j * C + c], pairs.ending[j] * load(&radial[j * C + c]) * load(seen + c));
    }
  }

  // zeros in the rows of pairs that are out of reach, though other atoms may see as far
  void leave(int64_t slots, const real *vectors, const int64_t *index, real *table) const
  {
    constexpr real LONGEST = BEYOND * CUTOFF;
    int j = 0;
    for (int64_t s = 0; s < slots; s++) {
      const real *v = vectors + 3 * s;
      if (j < pairs.found && pairs.slot[j] == s)
        j++;
      else if (v[0] * v[0] + v[1] * v[1] + v[2] * v[2] < LONGEST * LONGEST)
        std::memset(table + index[s] * C, 0, C * sizeof(real));
    }
  }

  // the densities [K, C]
  void collect(const real *factor, real *to) const
  {
    multiply(K, C, pairs.found, pairs.harmonics.data(), pairs.width, 1, product.data(), C, to, C);
    for (int k = 0; k < K; k++)
      for (int c = 0; c < C; c += LANES)
        store(to + k * C + c, load(to + k * C + c) * load(factor + c));
  }
};

void collect(int64_t n, int64_t slots, const real *vectors, const real *reach,
             const real *radial, bool shared, const real *scale, const real *table,
             const int64_t *index, real *density)
{
  in_parts(n, [&](int64_t begin, int64_t end) {
    Densities near(slots);
    Waves waves(slots);
    for (int64_t i = begin; i < end; i++) {
      const real *weights = radial + (shared ? 0 : i * B * C);
      near.gather(waves, slots, vectors + i * slots * 3, reach[i], weights, table,
                  index + i * slots, false);
      near.collect(scale + i * C, density + i * K * C);
    }
  });
}

// derivatives of the densities of one atom
struct DensitySlopes {
  std::vector<real> field_t, d_product, turned, by_distance;

  DensitySlopes(int64_t slots, int width)
      : field_t(C * KP, real(0)), d_product(slots * C), turned(slots * KP), by_distance(width)
  {
  }

  // Derivatives by the rows, to which they may be added, and by scale are found if they are asked
  // for; those of each pair by its radial function stay in d_product. With d_vectors, for which the
  // densities were gathered with slopes, those by the vectors of all pairs that are near are written
  // there, and that by the reach is returned; slopes of the pairs are overwritten.
  real back(Densities &near, const real *slope, const real *factor, const real *table,
            const int64_t *index, real *d_vectors, real *d_scale, real *to_table, bool add)
  {
    Pairs &pairs = near.pairs;
    const int found = pairs.found;
    multiply(found, C, K, pairs.harmonics.data(), 1, pairs.width, slope, C, d_product.data(), C);
    if (d_scale)
      for (int c = 0; c < C; c += LANES) {
        vec sum{};
        for (int j = 0; j < found; j++)
          sum += load(&d_product[j * C + c]) * load(&near.product[j * C + c]);
        store(d_scale + c, sum);
      }
    real by_reach = 0;
    for (int j = 0; j < found; j++) {
      const int64_t row = index[pairs.slot[j]];
      const real ending = pairs.ending[j];
      vec by_ending{}, by_radius{};
      for (int c = 0; c < C; c += LANES) {
        const vec d = load(&d_product[j * C + c]) * load(factor + c);
        const vec r = load(&near.radial[j * C + c]), g = d * load(table + row * C + c);
        if (d_vectors) {
          by_ending += g * r;
          by_radius += g * load(&near.radial_slopes[j * C + c]);
        }
        if (to_table) {
          real *to = to_table + row * C + c;
          const vec by_row = ending * d * r;
          store(to, add ? load(to) + by_row : by_row);
        }
        store(&d_product[j * C + c], ending * g);
      }
      if (!d_vectors) continue;
      const real along = total(by_ending);
      by_reach += along * pairs.ending_by_reach[j];
      by_distance[j] = ending * total(by_radius) + along * pairs.ending_by_distance[j];
    }
    if (!d_vectors) return 0;
    for (int k = 0; k < K; k++)
      for (int c = 0; c < C; c++) field_t[c * KP + k] = slope[k * C + c] * factor[c];
    multiply(found, KP, C, near.product.data(), C, 1, field_t.data(), KP, turned.data(), KP);
    pairs.turn(turned.data());
    pairs.back(by_distance.data(), d_vectors);
    return by_reach;
  }
};

// own: a row of the table belongs to one pair, of one atom; else all atoms share the rows. The
// derivatives are by vectors and reach, or by the weights: radial, scale and table.
void collect_back(int64_t n, int64_t slots, const real *d_density, const real *vectors,
                  const real *reach, const real *radial, bool shared, const real *scale,
                  const real *table, int64_t rows, bool own, const int64_t *index, real *d_vectors,
                  real *d_reach, real *d_radial, real *d_scale, real *d_table)
{
  if (d_vectors) std::memset(d_vectors, 0, n * slots * 3 * sizeof(real));
  // each pair that is near has its row, which it writes; others are not read
  const bool every = own && rows == n * slots;
  if (d_table && own && !every) std::memset(d_table, 0, rows * C * sizeof(real));
  const int64_t parts = parts_of(n);
  Sums<real> of_table(own ? nullptr : d_table, rows * C, parts);
  Sums<real> of_radial(shared ? d_radial : nullptr, B * C, parts);
  in_parts(n, parts, [&](int64_t part, int64_t begin, int64_t end) {
    Densities near(slots);
    Pairs &pairs = near.pairs;
    Waves waves(slots);
    DensitySlopes slopes(slots, pairs.width);
    real *to_table = own ? d_table : of_table.of(part);
    for (int64_t i = begin; i < end; i++) {
      const real *weights = radial + (shared ? 0 : i * B * C);
      const int64_t *rows_of = index + i * slots;
      near.gather(waves, slots, vectors + i * slots * 3, reach[i], weights, table, rows_of,
                  d_vectors != nullptr);
      if (to_table && own)
        for (int j = 0; j < pairs.found; j++) ask(to_table + rows_of[pairs.slot[j]] * C);
      const real by_reach =
          slopes.back(near, d_density + i * K * C, scale + i * C, table, rows_of,
                      d_vectors ? d_vectors + i * slots * 3 : nullptr,
                      d_scale ? d_scale + i * C : nullptr, to_table, !every);
      if (to_table && every) near.leave(slots, vectors + i * slots * 3, rows_of, to_table);
      if (d_radial)
        multiply(B, C, pairs.found, waves.values.data(), pairs.width, 1, slopes.d_product.data(), C,
                 shared ? of_radial.of(part) : d_radial + i * B * C, C, shared);
      if (d_vectors) d_reach[i] = by_reach;
    }
  });
  of_table.add_up();
  of_radial.add_up();
}

// ------------------------------------------------------------------------------------------------
// messages: features [n, K, C], weight [LMAX+1, C, C], scalars [n, C], vectors [n, slots, 3]; those
// along vectors that are longer than all cutoffs are never read, and not written

void send(int64_t n, int64_t slots, const real *features, const real *weight, const real *scalars,
          const real *vectors, const real *longest, real *messages, real *field)
{
  in_parts(n, [&](int64_t begin, int64_t end) {
    Pairs pairs(slots);
    std::vector<real> rows(slots * C);
    for (int64_t start = begin; start < end; start += TILE) {
      const int atoms = int(std::min<int64_t>(TILE, end - start));
      for (int k = 0; k < K; k++)
        multiply(atoms, C, C, features + (start * K + k) * C, K * C, 1, weight + degree(k) * C * C,
                 C, field + (start * K + k) * C, K * C);
      for (int64_t i = start; i < start + atoms; i++) {
        real *own = field + i * K * C;
        for (int c = 0; c < C; c++) own[c] += scalars[i * C + c];
        pairs.keep(slots, vectors + i * slots * 3, BEYOND * *longest);
        pairs.make_harmonics();
        multiply(pairs.found, C, K, pairs.harmonics.data(), 1, pairs.width, own, C, rows.data(), C);
        for (int j = 0; j < pairs.found; j++)
          std::memcpy(messages + (i * slots + pairs.slot[j]) * C, &rows[j * C], C * sizeof(real));
      }
    }
  });
}

void send_back(int64_t n, int64_t slots, const real *d_messages, const real *field,
               const real *weight, const real *vectors, const real *longest, real *d_features,
               real *d_scalars, real *d_vectors, const real *features = nullptr,
               real *d_weight = nullptr)
{
  const auto weight_t = each_transposed(weight, LMAX + 1, C, C);
  if (d_vectors) std::memset(d_vectors, 0, n * slots * 3 * sizeof(real));
  const int64_t parts = parts_of(n);
  Sums<real> of_weight(d_weight, (LMAX + 1) * C * C, parts);
  in_parts(n, parts, [&](int64_t part, int64_t begin, int64_t end) {
    Pairs pairs(slots);
    std::vector<real> slope(TILE * K * C), turned(slots * KP), rows(slots * C);
    std::vector<real> field_t(C * KP, real(0));
    for (int64_t start = begin; start < end; start += TILE) {
      const int atoms = int(std::min<int64_t>(TILE, end - start));
      for (int64_t i = start; i < start + atoms; i++) {
        pairs.keep(slots, vectors + i * slots * 3, BEYOND * *longest);
        pairs.make_harmonics();
        const int found = pairs.found;
        for (int j = 0; j < found; j++)
          std::memcpy(&rows[j * C], d_messages + (i * slots + pairs.slot[j]) * C, C * sizeof(real));
        real *own = slope.data() + (i - start) * K * C;
        multiply(K, C, found, pairs.harmonics.data(), pairs.width, 1, rows.data(), C, own, C);
        std::memcpy(d_scalars + i * C, own, C * sizeof(real));
        if (!d_vectors) continue;
        for (int k = 0; k < K; k++)
          for (int c = 0; c < C; c++) field_t[c * KP + k] = field[(i * K + k) * C + c];
        multiply(found, KP, C, rows.data(), C, 1, field_t.data(), KP, turned.data(), KP);
        pairs.turn(turned.data());
        pairs.back(nullptr, d_vectors + i * slots * 3);
      }
      for (int k = 0; k < K; k++) {
        const int64_t at = (start * K + k) * C;
        multiply(atoms, C, C, slope.data() + k * C, K * C, 1, weight_t.data() + degree(k) * C * C,
                 C, d_features + at, K * C);
        if (d_weight)
          multiply(C, C, atoms, features + at, 1, K * C, slope.data() + k * C, K * C,
                   of_weight.of(part) + degree(k) * C * C, C, true);
      }
    }
  });
  of_weight.add_up();
}

}  // namespace

#ifdef SCALEWISE_LIBRARY

// ------------------------------------------------------------------------------------------------
// a table of functions, in the order of library.py

extern "C" {
extern const void *const scalewise_kernels[];
const void *const scalewise_kernels[] = {
    reinterpret_cast<void *>(make_vectors),       reinterpret_cast<void *>(make_vectors_back),
    reinterpret_cast<void *>(pair_energies),      reinterpret_cast<void *>(collect),
    reinterpret_cast<void *>(collect_back),       reinterpret_cast<void *>(product),
    reinterpret_cast<void *>(product_back),       reinterpret_cast<void *>(send),
    reinterpret_cast<void *>(send_back),
};
}

#else

// ------------------------------------------------------------------------------------------------
// networks of one layer without charges

namespace {

// energies [n], and the derivatives of their sum by positions and by a strain [3, 3], with all that
// belongs to a tile of atoms in the cache. The pair potential reaches as far as the densities.
void one_layer(int64_t n, int64_t slots, const double *positions, const double *cell,
               const int64_t *system, const int64_t *index, const int32_t *shift, const bool *mask,
               const int64_t *types, const real *reach, const real *radial, const real *scale,
               const real *table, const real *mix, const real *first, const real *bias,
               const real *second, const real *second_bias, const real *readout, int64_t kinds,
               const real *coefficients, const real *rate, const real *strength,
               const real *touch, real *energies, double *d_positions, double *d_strain)
{
  const auto first_t = transposed(first, H, INVARIANTS, H), second_t = transposed(second, H, H, H);
  const auto mix_t = each_transposed(mix, LMAX + 1, C, 2 * C);
  const int64_t parts = parts_of(n);
  // several threads leave what they find, and it is added up in the order of one thread
  std::vector<real> slopes_of(parts > 1 ? n * slots * 3 : 0, real(0));
  std::vector<double> strains(9 * n, 0.0);
  std::fill_n(d_positions, 3 * n, 0.0);
  in_parts(n, parts, [&](int64_t, int64_t begin, int64_t end) {
    const auto tile = std::make_unique<Tile>(), slope = std::make_unique<Tile>();
    std::vector<Densities> near(TILE, Densities(slots));
    Waves waves(slots);
    DensitySlopes slopes(slots, waves.width);
    PairPotential potential(waves.width);
    std::vector<real> vectors(slots * 3), d_vectors(slots * 3);
    std::vector<real> features(TILE * K * C), field(TILE * K * C), other(TILE * K * C);
    std::vector<real> result(TILE * K * C), d_features(TILE * K * C), none(TILE * K * C, real(0));
    std::vector<real> scalars(TILE * H), d_scalars(TILE * H), d_bias(TILE * H), factor(TILE);
    std::vector<real> before_first(TILE * H), before_second(TILE * H);
    for (int c = 0; c < TILE * H; c++) d_scalars[c] = readout[c % H];
    for (int64_t start = begin; start < end; start += TILE) {
      const int atoms = int(std::min<int64_t>(TILE, end - start));
      for (int a = 0; a < atoms; a++) {
        const int64_t i = start + a;
        real *v = vectors.data();
        vectors_of(i, slots, positions, cell, system, index, shift, mask, v);
        near[a].gather(waves, slots, v, reach[i], radial, table, index + i * slots, true);
        near[a].collect(scale + i * C, &features[a * K * C]);
      }
      product_of(0, atoms, *tile, features.data(), mix, first_t.data(), bias + start * H,
                 second_t.data(), second_bias, scalars.data(), field.data(), other.data(),
                 result.data(), before_first.data(), before_second.data(), factor.data());
      product_back_of(0, atoms, *tile, *slope, d_scalars.data(), none.data(), none.data(),
                      field.data(), other.data(), result.data(), before_first.data(),
                      before_second.data(), factor.data(), mix_t.data(), first, second,
                      d_features.data(), d_bias.data());
      for (int a = 0; a < atoms; a++) {
        const int64_t i = start + a;
        const int64_t *neighbors = index + i * slots;
        const Pairs &pairs = near[a].pairs;
        real *own = parts > 1 ? &slopes_of[i * slots * 3] : d_vectors.data();
        slopes.back(near[a], &d_features[a * K * C], scale + i * C, table, neighbors, own, nullptr,
                    nullptr, false);
        potential.evaluate(pairs, reach[i], types[i], types, neighbors, kinds, coefficients, rate,
                           strength, touch);
        real energy = 0;
        for (int c = 0; c < H; c++) energy += readout[c] * scalars[a * H + c];
        for (int j = 0; j < pairs.found; j++) {
          const real along = real(0.5) * potential.by_distance[j];
          real *to = own + 3 * pairs.slot[j];
          to[0] += along * pairs.x[j];
          to[1] += along * pairs.y[j];
          to[2] += along * pairs.z[j];
          energy += real(0.5) * potential.energy[j];
          if (parts == 1) add_slope(i, i * slots + pairs.slot[j], to, index, d_positions);
          const real r = pairs.distance[j];
          const real apart[3] = {r * pairs.x[j], r * pairs.y[j], r * pairs.z[j]};
          for (int row = 0; row < 3; row++)
            for (int axis = 0; axis < 3; axis++)
              strains[9 * i + 3 * row + axis] += to[row] * apart[axis];
        }
        energies[i] = energy;
      }
    }
  });
  for (int64_t p = 0; p < int64_t(slopes_of.size()) / 3; p++) {
    const real *slope = &slopes_of[3 * p];
    if (slope[0] != 0 || slope[1] != 0 || slope[2] != 0)
      add_slope(p / slots, p, slope, index, d_positions);
  }
  std::fill_n(d_strain, 9, 0.0);
  for (int64_t i = 0; i < n; i++)
    for (int k = 0; k < 9; k++) d_strain[k] += strains[9 * i + k];
}

}  // namespace

// ------------------------------------------------------------------------------------------------
// tensors

namespace {

constexpr AOTITorchError GOOD = 0, BAD = 1;

int64_t size(AtenTensorHandle tensor, int64_t axis)
{
  int64_t found = 0;
  aoti_torch_get_size(tensor, axis, &found);
  return found;
}

template <class Number = real> Number *data(AtenTensorHandle tensor)
{
  void *found = nullptr;
  aoti_torch_get_data_ptr(tensor, &found);
  return static_cast<Number *>(found);
}

bool contiguous(std::initializer_list<AtenTensorHandle> tensors)
{
  for (const auto &tensor : tensors) {
    bool found = false;
    aoti_torch_is_contiguous(tensor, &found);
    if (!found) return false;
  }
  return true;
}

template <class Number = real>
Number *make(std::initializer_list<int64_t> sizes, AtenTensorHandle *made)
{
  const int32_t type =
      sizeof(Number) == 8 ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
  std::vector<int64_t> strides(sizes.size(), 1);
  for (int axis = int(sizes.size()) - 2; axis >= 0; axis--)
    strides[axis] = strides[axis + 1] * sizes.begin()[axis + 1];
  aoti_torch_empty_strided(int64_t(sizes.size()), sizes.begin(), strides.data(), type,
                           aoti_torch_device_type_cpu(), 0, made);
  return data<Number>(*made);
}

AOTITorchError collect_back(AtenTensorHandle d_density, AtenTensorHandle vectors,
                            AtenTensorHandle reach, AtenTensorHandle radial,
                            AtenTensorHandle scale, AtenTensorHandle table, AtenTensorHandle index,
                            AtenTensorHandle *d_vectors, AtenTensorHandle *d_reach,
                            AtenTensorHandle *d_radial, AtenTensorHandle *d_table)
{
  if (!contiguous({d_density, vectors, reach, radial, scale, table, index})) return BAD;
  if (size(index, 1) != size(vectors, 1)) return BAD;
  const int64_t n = size(vectors, 0), slots = size(vectors, 1), rows = size(table, 0);
  const bool shared = size(radial, 0) == 1;
  real *to_vectors = make({n, slots, 3}, d_vectors), *to_reach = make({n}, d_reach);
  // radial functions that all atoms share, and rows of elements, are constant
  real *to_radial = make({shared ? 0 : n, B, C}, d_radial);
  real *to_table = d_table ? make({rows, C}, d_table) : nullptr;
  collect_back(n, slots, data(d_density), data(vectors), data(reach), data(radial), shared,
               data(scale), data(table), rows, true, data<int64_t>(index), to_vectors, to_reach,
               shared ? nullptr : to_radial, nullptr, to_table);
  return GOOD;
}

}  // namespace

extern "C" {

AOTITorchError aoti_torch_cpu_pair_energies(AtenTensorHandle vectors, AtenTensorHandle reach,
                                            AtenTensorHandle first, AtenTensorHandle types,
                                            AtenTensorHandle index,
                                            AtenTensorHandle coefficients, AtenTensorHandle rate,
                                            AtenTensorHandle strength, AtenTensorHandle touch,
                                            AtenTensorHandle *energies,
                                            AtenTensorHandle *by_vectors,
                                            AtenTensorHandle *by_reach)
{
  if (!contiguous({vectors, reach, first, types, index, coefficients, rate, strength, touch}))
    return BAD;
  const int64_t n = size(vectors, 0), slots = size(vectors, 1);
  real *to_energies = make({n}, energies), *to_vectors = make({n, slots, 3}, by_vectors);
  pair_energies(n, slots, data(vectors), data(reach), data<int64_t>(first), data<int64_t>(types),
                data<int64_t>(index), size(rate, 0), data(coefficients), data(rate),
                data(strength), data(touch), to_energies, to_vectors, make({n}, by_reach));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_vectors(AtenTensorHandle positions, AtenTensorHandle cell,
                                      AtenTensorHandle system, AtenTensorHandle index,
                                      AtenTensorHandle shift, AtenTensorHandle mask,
                                      AtenTensorHandle, AtenTensorHandle *vectors)
{
  if (!contiguous({positions, cell, system, index, shift, mask})) return BAD;
  const int64_t n = size(index, 0), slots = size(index, 1);
  make_vectors(n, slots, data<double>(positions), data<double>(cell), data<int64_t>(system),
               data<int64_t>(index), size(shift, 0) ? data<int32_t>(shift) : nullptr,
               data<bool>(mask), make({n, slots, 3}, vectors));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_vectors_back(AtenTensorHandle d_vectors, AtenTensorHandle positions,
                                           AtenTensorHandle cell, AtenTensorHandle system,
                                           AtenTensorHandle index, AtenTensorHandle shift,
                                           AtenTensorHandle mask, AtenTensorHandle *d_positions,
                                           AtenTensorHandle *d_cell)
{
  if (!contiguous({d_vectors, positions, cell, system, index, shift, mask})) return BAD;
  const int64_t n = size(index, 0), atoms = size(positions, 0), systems = size(cell, 0);
  double *to_positions = make<double>({atoms, 3}, d_positions);
  double *to_cell = make<double>({systems, 3, 3}, d_cell);
  make_vectors_back(n, size(index, 1), atoms, systems, data(d_vectors), data<int64_t>(system),
                    data<int64_t>(index), size(shift, 0) ? data<int32_t>(shift) : nullptr,
                    data<bool>(mask), to_positions, to_cell);
  return GOOD;
}

AOTITorchError aoti_torch_cpu_one_layer(
    AtenTensorHandle positions, AtenTensorHandle cell, AtenTensorHandle reach,
    AtenTensorHandle system, AtenTensorHandle index, AtenTensorHandle shift,
    AtenTensorHandle mask, AtenTensorHandle types, AtenTensorHandle radial, AtenTensorHandle scale,
    AtenTensorHandle table, AtenTensorHandle mix, AtenTensorHandle first, AtenTensorHandle bias,
    AtenTensorHandle second, AtenTensorHandle second_bias, AtenTensorHandle readout,
    AtenTensorHandle coefficients, AtenTensorHandle rate, AtenTensorHandle strength,
    AtenTensorHandle touch, AtenTensorHandle *energies, AtenTensorHandle *d_positions,
    AtenTensorHandle *d_strain)
{
  if (!contiguous({positions, cell, system, index, shift, mask, types, reach, radial, scale, table,
                   mix, first, bias, second, second_bias, readout, coefficients, rate, strength,
                   touch}))
    return BAD;
  const int64_t n = size(index, 0);
  if (size(positions, 0) != n) return BAD;
  double *to_positions = make<double>({n, 3}, d_positions);
  double *to_strain = make<double>({3, 3}, d_strain);
  one_layer(n, size(index, 1), data<double>(positions), data<double>(cell),
            data<int64_t>(system), data<int64_t>(index),
            size(shift, 0) ? data<int32_t>(shift) : nullptr, data<bool>(mask),
            data<int64_t>(types), data(reach), data(radial), data(scale), data(table), data(mix),
            data(first), data(bias), data(second), data(second_bias), data(readout),
            size(rate, 0), data(coefficients), data(rate), data(strength), data(touch),
            make({n}, energies), to_positions, to_strain);
  return GOOD;
}

AOTITorchError aoti_torch_cpu_product(AtenTensorHandle features, AtenTensorHandle mix,
                                      AtenTensorHandle first, AtenTensorHandle bias,
                                      AtenTensorHandle second, AtenTensorHandle second_bias,
                                      AtenTensorHandle *scalars, AtenTensorHandle *field,
                                      AtenTensorHandle *result, AtenTensorHandle *other,
                                      AtenTensorHandle *before_first,
                                      AtenTensorHandle *before_second, AtenTensorHandle *factor)
{
  if (!contiguous({features, mix, first, bias, second, second_bias})) return BAD;
  const int64_t n = size(features, 0);
  real *to_scalars = make({n, H}, scalars), *to_field = make({n, K, C}, field);
  real *to_result = make({n, K, C}, result), *to_other = make({n, K, C}, other);
  real *to_first = make({n, H}, before_first), *to_second = make({n, H}, before_second);
  product(n, data(features), data(mix), data(first), data(bias), data(second), data(second_bias),
          to_scalars, to_field, to_other, to_result, to_first, to_second, make({n}, factor));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_product_back(
    AtenTensorHandle d_scalars, AtenTensorHandle d_field, AtenTensorHandle d_result,
    AtenTensorHandle field, AtenTensorHandle result, AtenTensorHandle other,
    AtenTensorHandle before_first, AtenTensorHandle before_second, AtenTensorHandle factor,
    AtenTensorHandle mix, AtenTensorHandle first, AtenTensorHandle second,
    AtenTensorHandle *d_features, AtenTensorHandle *d_bias)
{
  if (!contiguous({d_scalars, d_field, d_result, field, result, other, before_first, before_second,
                   factor, mix, first, second}))
    return BAD;
  const int64_t n = size(field, 0);
  real *to_features = make({n, K, C}, d_features);
  product_back(n, data(d_scalars), data(d_field), data(d_result), data(field), data(other),
               data(result), data(before_first), data(before_second), data(factor), data(mix),
               data(first), data(second), to_features, make({n, H}, d_bias));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_collect(AtenTensorHandle vectors, AtenTensorHandle reach,
                                      AtenTensorHandle radial, AtenTensorHandle scale,
                                      AtenTensorHandle table, AtenTensorHandle index, int64_t,
                                      AtenTensorHandle *density)
{
  if (!contiguous({vectors, reach, radial, scale, table, index})) return BAD;
  if (size(index, 1) != size(vectors, 1)) return BAD;
  const int64_t n = size(vectors, 0);
  collect(n, size(vectors, 1), data(vectors), data(reach), data(radial), size(radial, 0) == 1,
          data(scale), data(table), data<int64_t>(index), make({n, K, C}, density));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_collect_messages_back(
    AtenTensorHandle d_density, AtenTensorHandle vectors, AtenTensorHandle reach,
    AtenTensorHandle radial, AtenTensorHandle scale, AtenTensorHandle table,
    AtenTensorHandle index, AtenTensorHandle *d_vectors, AtenTensorHandle *d_reach,
    AtenTensorHandle *d_radial, AtenTensorHandle *d_table)
{
  return collect_back(d_density, vectors, reach, radial, scale, table, index, d_vectors,
                      d_reach, d_radial, d_table);
}

AOTITorchError aoti_torch_cpu_collect_elements_back(
    AtenTensorHandle d_density, AtenTensorHandle vectors, AtenTensorHandle reach,
    AtenTensorHandle radial, AtenTensorHandle scale, AtenTensorHandle table,
    AtenTensorHandle index, AtenTensorHandle *d_vectors, AtenTensorHandle *d_reach,
    AtenTensorHandle *d_radial)
{
  return collect_back(d_density, vectors, reach, radial, scale, table, index, d_vectors,
                      d_reach, d_radial, nullptr);
}

AOTITorchError aoti_torch_cpu_collect_weights_back(
    AtenTensorHandle d_density, AtenTensorHandle vectors, AtenTensorHandle reach,
    AtenTensorHandle radial, AtenTensorHandle scale, AtenTensorHandle table,
    AtenTensorHandle index, AtenTensorHandle *d_radial, AtenTensorHandle *d_scale,
    AtenTensorHandle *d_table)
{
  if (!contiguous({d_density, vectors, reach, radial, scale, table, index})) return BAD;
  if (size(index, 1) != size(vectors, 1)) return BAD;
  const int64_t n = size(vectors, 0), slots = size(vectors, 1), rows = size(table, 0);
  const int64_t functions = size(radial, 0);
  real *to_radial = make({functions, B, C}, d_radial), *to_scale = make({n, C}, d_scale);
  collect_back(n, slots, data(d_density), data(vectors), data(reach), data(radial),
               functions == 1, data(scale), data(table), rows, rows == n * slots,
               data<int64_t>(index), nullptr, nullptr, to_radial, to_scale,
               make({rows, C}, d_table));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_product_weights_back(
    AtenTensorHandle d_scalars, AtenTensorHandle d_field, AtenTensorHandle d_result,
    AtenTensorHandle features, AtenTensorHandle field, AtenTensorHandle result,
    AtenTensorHandle other, AtenTensorHandle before_first, AtenTensorHandle before_second,
    AtenTensorHandle factor, AtenTensorHandle mix, AtenTensorHandle first, AtenTensorHandle second,
    AtenTensorHandle *d_features, AtenTensorHandle *d_bias, AtenTensorHandle *d_mix,
    AtenTensorHandle *d_first, AtenTensorHandle *d_second, AtenTensorHandle *d_second_bias)
{
  if (!contiguous({d_scalars, d_field, d_result, features, field, result, other, before_first,
                   before_second, factor, mix, first, second}))
    return BAD;
  const int64_t n = size(field, 0);
  real *to_features = make({n, K, C}, d_features), *to_bias = make({n, H}, d_bias);
  real *to_mix = make({LMAX + 1, C, 2 * C}, d_mix), *to_first = make({H, INVARIANTS}, d_first);
  real *to_second = make({H, H}, d_second);
  product_back(n, data(d_scalars), data(d_field), data(d_result), data(field), data(other),
               data(result), data(before_first), data(before_second), data(factor), data(mix),
               data(first), data(second), to_features, to_bias, data(features), to_mix, to_first,
               to_second, make({H}, d_second_bias));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_send_weights_back(
    AtenTensorHandle d_messages, AtenTensorHandle features, AtenTensorHandle weight,
    AtenTensorHandle vectors, AtenTensorHandle longest, AtenTensorHandle *d_features,
    AtenTensorHandle *d_scalars, AtenTensorHandle *d_weight)
{
  if (!contiguous({d_messages, features, weight, vectors})) return BAD;
  const int64_t n = size(features, 0);
  real *to_features = make({n, K, C}, d_features), *to_scalars = make({n, C}, d_scalars);
  send_back(n, size(vectors, 1), data(d_messages), nullptr, data(weight), data(vectors),
            data(longest), to_features, to_scalars, nullptr, data(features),
            make({LMAX + 1, C, C}, d_weight));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_send(AtenTensorHandle features, AtenTensorHandle weight,
                                   AtenTensorHandle scalars, AtenTensorHandle vectors,
                                   AtenTensorHandle longest, AtenTensorHandle *messages,
                                   AtenTensorHandle *field)
{
  if (!contiguous({features, weight, scalars, vectors})) return BAD;
  const int64_t n = size(features, 0), slots = size(vectors, 1);
  real *to_messages = make({n, slots, C}, messages);
  send(n, slots, data(features), data(weight), data(scalars), data(vectors), data(longest),
       to_messages, make({n, K, C}, field));
  return GOOD;
}

AOTITorchError aoti_torch_cpu_send_back(AtenTensorHandle d_messages, AtenTensorHandle field,
                                        AtenTensorHandle weight, AtenTensorHandle vectors,
                                        AtenTensorHandle longest, AtenTensorHandle *d_features,
                                        AtenTensorHandle *d_scalars, AtenTensorHandle *d_vectors)
{
  if (!contiguous({d_messages, field, weight, vectors})) return BAD;
  const int64_t n = size(field, 0), slots = size(vectors, 1);
  real *to_features = make({n, K, C}, d_features), *to_scalars = make({n, C}, d_scalars);
  send_back(n, slots, data(d_messages), data(field), data(weight), data(vectors), data(longest),
            to_features, to_scalars, make({n, slots, 3}, d_vectors));
  return GOOD;
}

}  // extern "C"

#endif
