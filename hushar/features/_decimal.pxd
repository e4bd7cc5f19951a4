# cython: language_level=3, cdivision=True
"""Decimal strings to float32 in C, rounded once: the compiled twin of numbers.py.

Exact integer arithmetic decides numbers of up to 19 significant digits (and longer ones, unless those
19 leave it open) and of moderate exponent. What else is a number is left to the caller, who knows its nearest
float64, and asks here again where that lies midway between two float32. Time is linear in the length of the
string.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from hushar.features._wire cimport Bytes

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <string.h>

    #define HUSHAR_POWERS 27  /* 5^27 < 2^63 */

    /* The float32 nearest to digits * 10^exponent, ties to even; with `sticky` to a number just above it.
       digits > 0 and |exponent| <= HUSHAR_POWERS, so the result may be infinite but is never subnormal. */
    static float hushar_nearest(uint64_t digits, int exponent, int sticky) {
        unsigned __int128 exact;
        uint64_t power = 1, high;
        int shift, binary = exponent;
        for (int i = exponent < 0 ? -exponent : exponent; i; i--) power *= 5;
        if (exponent >= 0) {
            exact = (unsigned __int128)digits * power;
        } else {
            int zeros = __builtin_clzll(digits);
            unsigned __int128 dividend = (unsigned __int128)(digits << zeros) << 63;
            exact = dividend / power;
            sticky |= dividend % power != 0;
            binary -= zeros + 63;
        }
        /* How many bits are beyond the 24 of a float32. */
        high = (uint64_t)(exact >> 64);
        shift = (high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)exact)) - 24;
        if (shift <= 0) return ldexpf((float)(uint64_t)exact, binary);
        unsigned __int128 half = (unsigned __int128)1 << (shift - 1);
        unsigned __int128 rest = exact & ((half << 1) - 1);
        uint32_t kept = (uint32_t)(exact >> shift);
        if (rest > half || (rest == half && (sticky || (kept & 1)))) kept++;
        return ldexpf((float)kept, binary + shift);
    }

    /* Whether a number lies exactly between two neighbouring float32 (numbers.py, _midway). */
    static int hushar_midway(double number) {
        double size = fabs(number);
        uint64_t bits;
        if (size < 0x1p-126) {
            double scaled = size * 0x1p150;
            return scaled == (double)(int64_t)scaled && ((int64_t)scaled & 1);
        }
        memcpy(&bits, &number, 8);
        return size < 0x1p128 && (bits & 0x1FFFFFFF) == 0x10000000;
    }

    /* Integers of up to 1,216 bits, the lowest 32 first. Of the two that are compared below one is of at most 129
       digits times 2^174 (603 bits), the other of 25 bits times 10^k, k < 129 + 46 (607 bits). */
    #define HUSHAR_LIMBS 38
    #define HUSHAR_SIGNIFICANT 128  /* as in numbers.py */

    typedef struct { uint32_t limb[HUSHAR_LIMBS]; int size; } hushar_integer;

    static void hushar_times(hushar_integer *it, uint32_t factor, uint32_t more) {
        uint64_t carry = more;
        for (int i = 0; i < it->size; i++) {
            carry += (uint64_t)it->limb[i] * factor;
            it->limb[i] = (uint32_t)carry;
            carry >>= 32;
        }
        if (carry && it->size < HUSHAR_LIMBS) it->limb[it->size++] = (uint32_t)carry;
    }

    /* Times 10^exponent, 2^binary; a negative one is none. */
    static void hushar_times_powers(hushar_integer *it, int64_t exponent, int binary) {
        for (; exponent >= 9; exponent -= 9) hushar_times(it, 1000000000, 0);
        for (; exponent > 0; exponent--) hushar_times(it, 10, 0);
        for (; binary >= 31; binary -= 31) hushar_times(it, (uint32_t)1 << 31, 0);
        if (binary > 0) hushar_times(it, (uint32_t)1 << binary, 0);
    }

    /* -1, 0, 1: whether the absolute value of a decimal, which is one, is nonzero and rounds to the float64
       `number`, midway between two float32, is below, equal to, above that. numbers.py, _compare. */
    static int hushar_compare(const unsigned char *at, Py_ssize_t length, double number) {
        const unsigned char *end = at + length;
        hushar_integer decimal = {{0}, 0}, exact = {{0}, 0};
        int digits = 0, more = 0, behind = 0, binary, below = 0, i;
        int64_t exponent = 0, written = 0;
        for (; at < end && *at != 'e' && *at != 'E'; at++) {
            if (*at == '.') { behind = 1; continue; }
            if (*at < '0' || *at > '9') continue;  /* the sign */
            exponent -= behind;
            if (digits == 0 && *at == '0') continue;
            if (digits < HUSHAR_SIGNIFICANT) {
                hushar_times(&decimal, 10, *at - '0');
                digits++;
            } else {
                exponent++;
                more |= *at != '0';
            }
        }
        for (; at < end; at++) {
            if (*at == '-') below = 1;
            if (*at < '0' || *at > '9') continue;
            if (written < (int64_t)1 << 56) written = written * 10 + (*at - '0');
        }
        exponent += below ? -written : written;
        if (more) {
            hushar_times(&decimal, 10, 1);
            exponent--;
        }
        hushar_times(&exact, 1, (uint32_t)ldexp(frexp(fabs(number), &binary), 25));
        binary -= 25;
        hushar_times_powers(&decimal, exponent, -binary);
        hushar_times_powers(&exact, -exponent, binary);
        if (decimal.size != exact.size) return decimal.size < exact.size ? -1 : 1;
        for (i = decimal.size - 1; i >= 0; i--)
            if (decimal.limb[i] != exact.limb[i]) return decimal.limb[i] < exact.limb[i] ? -1 : 1;
        return 0;
    }

    /* The float32 nearest to such a decimal. numbers.py, _nearest. */
    static float hushar_beside(const unsigned char *at, Py_ssize_t length, double number) {
        float even = (float)number;
        int side = hushar_compare(at, length, number), above = fabs((double)even) > fabs(number);
        if (side == 0 || above == (side > 0)) return even;
        return nextafterf(even, above ? 0.0f : number < 0 ? -INFINITY : INFINITY);
    }
    """
    float nearest_beside "hushar_beside"(const uint8_t* at, Py_ssize_t length, double number) noexcept nogil
    float nearest "hushar_nearest"(uint64_t digits, int exponent, bint sticky) noexcept nogil
    bint is_midway "hushar_midway"(double number) noexcept nogil
    const float INFINITY
    enum:
        POWERS "HUSHAR_POWERS"

cdef enum Verdict:
    NO_NUMBER
    READ
    UNDECIDED  # a number, but not one for the short way

cdef enum:
    DIGITS = 19  # what fits 64 bits


cdef inline bint is_digit(Bytes at, Bytes end) noexcept nogil:
    return at < end and <uint8_t>(at[0] - c"0") < 10


cdef inline Verdict read_decimal(Bytes at, Py_ssize_t length, float* number) noexcept nogil:
    """`[+-]?(digits[.digits?]|.digits)([eE][+-]?digits)?`, all of it; see CONTRACT.md 2."""
    cdef Bytes end = at + length
    cdef uint64_t digits = 0
    cdef int count = 0
    cdef int64_t scale = 0, exponent = 0
    cdef bint negative, below, any_digit = False, cut = False
    cdef float low
    negative = at < end and at[0] == c"-"
    if at < end and (at[0] == c"-" or at[0] == c"+"):
        at += 1
    while is_digit(at, end):
        any_digit = True
        if count < DIGITS:
            digits = digits * 10 + (at[0] - c"0")
            count += digits != 0
        else:
            scale += 1
            cut = cut or at[0] != c"0"
        at += 1
    if at < end and at[0] == c".":
        at += 1
        while is_digit(at, end):
            any_digit = True
            if count < DIGITS:
                digits = digits * 10 + (at[0] - c"0")
                count += digits != 0
                scale -= 1
            else:
                cut = cut or at[0] != c"0"
            at += 1
    if not any_digit:
        return NO_NUMBER
    if at < end and (at[0] == c"e" or at[0] == c"E"):
        at += 1
        below = at < end and at[0] == c"-"
        if at < end and (at[0] == c"-" or at[0] == c"+"):
            at += 1
        if not is_digit(at, end):
            return NO_NUMBER
        while is_digit(at, end):
            # Far beyond what the digits of any string can make up for.
            if exponent < <int64_t>1000000000000000:
                exponent = exponent * 10 + (at[0] - c"0")
            at += 1
        scale += -exponent if below else exponent
    if at != end:
        return NO_NUMBER
    if digits == 0:
        low = 0.0
    elif scale + count > 39:
        low = INFINITY  # 10^39 or more
    elif scale + count < -46:
        low = 0.0  # less than half of the smallest float32
    elif scale < -POWERS or scale > POWERS:
        return UNDECIDED
    else:
        low = nearest(digits, <int>scale, cut)
        # What was cut off is less than one in the last of the digits.
        if cut and low != nearest(digits + 1, <int>scale, False):
            return UNDECIDED
    number[0] = -low if negative else low
    return READ
