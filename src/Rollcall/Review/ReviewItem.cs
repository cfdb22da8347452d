using Rollcall.Patrons;
using Rollcall.Sync;

namespace Rollcall.Review;

/// <summary>What became of a person in Review.</summary>
public enum ReviewStatus
{
    Open = 0,
    Linked = 1,
    Created = 2,
    Ignored = 3,

    /// <summary>A later sync could decide by itself, or the person is gone.</summary>
    Settled = 4,
}

/// <summary>A roster person who could not be matched safely.</summary>
public sealed class ReviewItem
{
    /// <summary>Why somebody waits whose decision was taken back: what the roster said of them was kept until then alone.</summary>
    internal const string OpenedAgain = "Opened again: what the roster says of the person comes with the next full sync";

    public int DistrictId { get; set; }
    public int Id { get; set; }

    /// <summary>The roster's <c>sourcedId</c>; unique in the district.</summary>
    public string RosterId { get; set; } = "";
    public RoleGroup RoleGroup { get; set; }
    public ReviewStatus Status { get; set; }
    public string Reason { get; set; } = "";

    /// <summary>Mapped values by field number, JSON. Once decided, name and site alone, which the list of those decided shows; once settled, none.</summary>
    public string Values { get; set; } = "{}";

    /// <summary>The link that the person would have, as JSON; null once decided, and for people who came before it was kept.</summary>
    public string? Link { get; set; }

    /// <summary>Ids of the patrons in question, a JSON array.</summary>
    public string Candidates { get; set; } = "[]";

    /// <summary>The operation that saw the person last.</summary>
    public long OperationId { get; set; }
    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset? DecidedAt { get; set; }
    public string? DecidedBy { get; set; }

    /// <summary>The operation that carried the decision out; null while there is none.</summary>
    public long? DecisionOperationId { get; set; }

    /// <summary>The decision was taken back, and no sync has seen the person since.</summary>
    internal bool AwaitsValues => Status == ReviewStatus.Open && string.Equals(Reason, OpenedAgain, StringComparison.Ordinal);

    /// <summary>What is kept of mapped values when somebody has decided: who it was, and where.</summary>
    internal static string NameOf(string values)
    {
        var kept = new ChangeValues();
        foreach (var (field, _, value) in ChangeValues.Parse(values).Items)
        {
            if (field is PatronFields.LastName or PatronFields.FirstName or PatronFields.Site)
            {
                kept.Add(field, null, value);
            }
        }

        return kept.ToJson();
    }
}
