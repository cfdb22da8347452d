using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Review;
using Rollcall.SignIn;

namespace Rollcall.Patrons.Erasure;

/// <summary>Everything that is kept of one person in a district: what an export holds, and what an erasure takes out.</summary>
internal sealed class PersonRecord
{
    /// <summary>Null for somebody who was removed before, or who never became a patron.</summary>
    public Patron? Patron { get; init; }

    public PatronLink? Link { get; init; }

    /// <summary>The records that this person has or had: those merged into the present one, too.</summary>
    public required IReadOnlyCollection<long> PatronIds { get; init; }

    /// <summary>The <c>sourcedId</c>s that are this person's, and nobody else's now.</summary>
    public required IReadOnlyCollection<string> RosterIds { get; init; }

    public required PersonTerms Terms { get; init; }

    /// <summary><see cref="Terms"/> where it is said who did something, which another patron of the same name may have done.</summary>
    public required PersonTerms Actor { get; init; }

    /// <summary>Values of certain fields that tell this person from others, by field number.</summary>
    public required IReadOnlyDictionary<int, HashSet<string>> Values { get; init; }

    /// <summary>Change rows about this person.</summary>
    public required IReadOnlyList<Change> Rows { get; init; }

    /// <summary>Change rows about others that name this person.</summary>
    public required IReadOnlyList<OthersRow> OthersRows { get; init; }

    /// <summary>Of this person, and open ones of somebody who may be the same.</summary>
    public required IReadOnlyList<ReviewItem> Reviews { get; init; }

    /// <summary>The operations of <see cref="Rows"/>, for their times and actors.</summary>
    public required IReadOnlyDictionary<long, Operation> RowOperations { get; init; }

    /// <summary>Operations whose settings, errors, warnings or actors name this person.</summary>
    public required IReadOnlyList<Operation> Operations { get; init; }

    public required IReadOnlyList<SwitchRecord> Switches { get; init; }
    public required IReadOnlyList<AuditEntry> Audit { get; init; }
    public required IReadOnlyList<SignInSession> Sessions { get; init; }
    public required IReadOnlyList<AccessToken> Tokens { get; init; }
    public required IReadOnlyList<Notice> Notices { get; init; }

    /// <summary>Barcodes of other patrons whose own record mentions this person: a homeroom's teacher, a relative's contact, a note.</summary>
    public required IReadOnlyList<string> MentionedBy { get; init; }
}

/// <summary>A change row about somebody else that names the person.</summary>
/// <param name="Row">As it is.</param>
/// <param name="Values">Its values without the person.</param>
internal sealed record OthersRow(Change Row, string Values);

/// <summary>How much is kept in one place.</summary>
/// <param name="What">The place, in words.</param>
/// <param name="Count">How much.</param>
public sealed record KeptThings(string What, int Count);

/// <summary>What an erasure would take out, and what it cannot.</summary>
/// <param name="Barcode">The barcode; of somebody who is no patron now, what was asked for.</param>
/// <param name="Name">As lists show it; null when nothing says it any more.</param>
/// <param name="Goes">What is taken out, without places that hold nothing.</param>
/// <param name="InRoster">The roster still sends this person, as far as syncs know: they come back as a new patron.</param>
/// <param name="MentionedBy">Barcodes of other patrons whose own record mentions this person; that stays.</param>
/// <param name="Copies">Backups in the data folder, which still hold this person.</param>
/// <param name="Refusal">Why it cannot be done now, and what to do; null when it can.</param>
public sealed record ErasurePreview(
    string Barcode,
    string? Name,
    IReadOnlyList<KeptThings> Goes,
    bool InRoster,
    IReadOnlyList<string> MentionedBy,
    IReadOnlyList<string> Copies,
    string? Refusal
)
{
    /// <summary>The address of an account that may be this person's and stays, because it is not for this district to remove; null when there
    /// is none.</summary>
    public string? AccountStays { get; init; }

    /// <summary>Who was looked at, for <see cref="PatronErasure.EnqueueAsync"/>: barcodes change hands.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string Seen { get; init; } = "";
}
