package pool

// maxSequence bounds the round-robin sequence: 8 kB of memory.
const maxSequence = 4096

// sequence gives the order of one cycle of smooth weighted round robin, as nginx does it: in each step every backend
// gains its weight, the richest is taken and pays the sum of the weights. It spreads a heavy backend's turns evenly (a
// a b a a c a, not a a a a a b c). The answer holds indexes of weights.
//
// Its length is the sum of the weights after division by their greatest common divisor. Beyond maxSequence the weights
// are scaled down first and rounded, but to no less than 1: a backend's share then differs from the exact one by at
// most 1/2 in 4,096 of all conns where the weight was rounded, and by less than 1 in 4,096 for each backend so light
// that it was lifted to 1. More than maxSequence backends take one turn each.
func sequence(weights []int) []uint16 {
	scaled, sum := scale(weights)
	seq := make([]uint16, 0, sum)
	if sum == len(scaled) { // all weights are 1
		for i := range scaled {
			seq = append(seq, uint16(i))
		}
		return seq
	}
	credit := make([]int, len(scaled))
	for range sum {
		best := 0
		for i, w := range scaled {
			credit[i] += w
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		seq = append(seq, uint16(best))
	}
	return seq
}

// scale divides the weights by their greatest common divisor and then, where needed, down to a sum of about
// maxSequence. It returns the new weights and their sum.
func scale(weights []int) (scaled []int, sum int) {
	divisor := 0
	for _, w := range weights {
		divisor = gcd(divisor, w)
	}
	scaled = make([]int, len(weights))
	for i, w := range weights {
		scaled[i] = w / divisor
		sum += scaled[i]
	}
	if sum <= maxSequence {
		return scaled, sum
	}
	total := sum
	sum = 0
	for i, w := range scaled {
		scaled[i] = max(1, (w*maxSequence+total/2)/total)
		sum += scaled[i]
	}
	for sum > maxSequence { // rounding up may have added a few: the heaviest bear it
		heaviest := 0
		for i, w := range scaled {
			if w > scaled[heaviest] {
				heaviest = i
			}
		}
		if scaled[heaviest] == 1 {
			break // more backends than turns
		}
		scaled[heaviest]--
		sum--
	}
	return scaled, sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
