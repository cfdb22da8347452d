using System.IO.Hashing;
using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Sync.Plan;

/// <summary>Which mapped fields anybody of a role group has in this pull: a field that is blank for all of them was not shared.</summary>
internal sealed class SharedFields
{
    private readonly bool[] _seen = new bool[4 * FieldMap.SyncedFields.Count];

    /// <summary>What an earlier full pull shared, for a pull of changes, which cannot tell.</summary>
    public static SharedFields Of(IReadOnlyDictionary<RoleGroup, long> bits)
    {
        var shared = new SharedFields();
        foreach (var (group, value) in bits)
        {
            for (var i = 0; i < FieldMap.SyncedFields.Count; i++)
            {
                shared._seen[((int)group * FieldMap.SyncedFields.Count) + i] = (value & (1L << i)) != 0;
            }
        }

        return shared;
    }

    public bool Has(RoleGroup group, int fieldIndex) => _seen[((int)group * FieldMap.SyncedFields.Count) + fieldIndex];

    /// <summary>True while something that the group could have has not been seen yet.</summary>
    /// <param name="group">The role group.</param>
    /// <param name="canHave">Whether the pull could have a field at all.</param>
    public bool IsOpen(RoleGroup group, Func<RoleGroup, int, bool> canHave)
    {
        for (var i = 0; i < FieldMap.SyncedFields.Count; i++)
        {
            if (!Has(group, i) && canHave(group, FieldMap.SyncedFields[i]))
            {
                return true;
            }
        }

        return false;
    }

    public void See(RoleGroup group, ReadOnlySpan<MappedValue> values)
    {
        for (var i = 0; i < values.Length; i++)
        {
            if (values[i].State == MappedState.Value)
            {
                _seen[((int)group * FieldMap.SyncedFields.Count) + i] = true;
            }
        }
    }

    /// <summary>The group's fields as bits, for the content hash.</summary>
    public long Bits(RoleGroup group)
    {
        long bits = 0;
        for (var i = 0; i < FieldMap.SyncedFields.Count; i++)
        {
            bits |= Has(group, i) ? 1L << i : 0;
        }

        return bits;
    }
}

/// <summary>A roster person, mapped and placed.</summary>
internal sealed class MappedPerson
{
    public required User User { get; init; }
    public required RoleGroup Group { get; init; }
    public required bool Deleted { get; init; }
    public required MappedValue[] Values { get; init; }

    /// <summary>The site of the deciding org; null when that org is not matched or the person has none.</summary>
    public required int? Site { get; init; }

    /// <summary>The deciding org; null when the person has none.</summary>
    public required string? Org { get; init; }

    /// <summary>At least one org of the person is matched.</summary>
    public required int? AnySite { get; init; }

    /// <summary>None of the orgs that could be read is matched, and there are some that could not.</summary>
    public bool MayBeElsewhere { get; init; }

    /// <summary>Nothing that was read tells the person's organization.</summary>
    public bool Placeless { get; init; }

    /// <summary>Whether the person is at a school of the library is not known well enough to bring somebody back.</summary>
    public bool StatusStays { get; init; }

    /// <summary>Nor whether somebody who was gone is in the roster at all.</summary>
    public bool AbsenceStays { get; init; }

    public required string? HomeroomClass { get; init; }

    /// <summary>This pull does not tell the person's homeroom: what the link knows stays.</summary>
    public bool HomeroomUnknown { get; init; }

    /// <summary>Homerooms were read, if not all of them for certain.</summary>
    public bool HomeroomsRead { get; init; }

    public MappedValue Value(int field)
    {
        for (var i = 0; i < Values.Length; i++)
        {
            if (FieldMap.SyncedFields[i] == field)
            {
                return Values[i];
            }
        }

        return MappedValue.NotSent;
    }

    /// <summary>Guardian ids in a stable order, one a line; null when none.</summary>
    public string? GuardianIds =>
        Group == RoleGroup.Student && User.Agents is { Count: > 0 } agents
            ? string.Join('\n', agents.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
            : null;
}

/// <summary>What changes for one patron that was found. Pure.</summary>
internal static class PersonPlan
{
    /// <summary>Why somebody is marked Transferred whom no row names any more.</summary>
    public const string NoLongerThere = "No longer in the roster";

    /// <summary>The warning of a new barcode that another patron has.</summary>
    public const string BarcodeTaken = "barcode-taken";

    /// <summary>Why somebody is marked Transferred whose orgs are none that is matched.</summary>
    public const string LeftAllSchools = "Left all matched schools";

    /// <summary>Hash of everything the roster says about a person and everything that decides what it does here. Never 0.</summary>
    public static long ContentHash(MappedPerson person, SharedFields shared, long configHash)
    {
        var hash = new XxHash3();
        Hashing.Append(hash, configHash);
        Hashing.Append(hash, shared.Bits(person.Group));
        Hashing.Append(
            hash,
            ((long)person.Group << 8)
                | (person.User.Enabled ? 1L : 0)
                | (person.Deleted ? 2L : 0)
                | ((long)(person.Site ?? -1) << 32)
                | (person.AnySite is null ? 4L : 0)
                | (person.MayBeElsewhere ? 8L : 0)
                | (person.User.OrgsPartial ? 16L : 0)
        );
        foreach (var value in person.Values)
        {
            Hashing.Append(hash, (long)value.State);
            Hashing.Append(hash, value.Text);
        }

        Hashing.Append(hash, person.User.SourcedId);
        Hashing.Append(hash, person.User.Username);
        Hashing.Append(hash, person.GuardianIds);
        Hashing.Append(hash, person.HomeroomClass);
        Hashing.Append(hash, person.User.Roles.Count == 0 ? 0 : 1);
        var result = (long)hash.GetCurrentHashAsUInt64();
        return result == 0 ? 1 : result;
    }

    /// <summary>Compares a person with the patron that matched.</summary>
    /// <param name="person">The person.</param>
    /// <param name="old">The patron as stored.</param>
    /// <param name="oldLink">The patron's link; null when there is none yet.</param>
    /// <param name="setup">The district's settings.</param>
    /// <param name="shared">Which fields this pull shares.</param>
    /// <param name="hash">The person's content hash.</param>
    /// <param name="siteIsMatched">Whether a site has an org.</param>
    public static PersonDifference Compare(
        MappedPerson person,
        Patron old,
        PatronLink? oldLink,
        SyncSetup setup,
        SharedFields shared,
        long hash,
        Func<int, bool> siteIsMatched
    )
    {
        var values = new ChangeValues();
        var link = oldLink is null ? new LinkState() : LinkState.Of(oldLink);
        var difference = new PersonDifference { Values = values };

        if (person.Deleted)
        {
            // Whose GUID somebody entered is linked from now on, as who they were.
            link = oldLink is null ? link with { RoleGroup = person.Group } : link;

            // That somebody is deleted is acted on once: a status that was set afterwards has a reason.
            if (link.Absent)
            {
                return Finish(difference, link, oldLink);
            }

            // Deleted rows write the status and nothing else.
            return Transfer(
                difference,
                old,
                link,
                oldLink,
                old.Status,
                setup,
                person.User.Status == OneRoster.Model.RecordStatus.Active ? "All roles in the roster have ended" : "Deleted in the roster"
            );
        }

        var kept = old.KeptFields is { Length: > 0 } list ? list.Split(',') : [];
        bool Keeps(int field) =>
            setup.Settings.Map.PolicyOf(field) == FieldPolicy.LibraryKeeps
            || (kept.Length > 0 && kept.Contains(field.ToString(System.Globalization.CultureInfo.InvariantCulture)));

        if (!string.Equals(old.Guid, person.User.SourcedId, StringComparison.Ordinal) && !IsAlias(oldLink, person.User.SourcedId!))
        {
            values.Add(PatronFields.Guid, old.Guid, person.User.SourcedId);
        }

        var newSite = old.SiteId;
        // Which school decides, the entry may have said that could not be read.
        if (
            person.Site is { } site
            && !Keeps(PatronFields.Site)
            && (setup.Settings.Map.PolicyOf(PatronFields.Site) != FieldPolicy.FillIfEmpty || old.SiteId is null)
            && !(old.SiteId is { } stays && stays != site && IsUnsure())
        )
        {
            newSite = site;
        }

        // Whichever homeroom it is now, and be it one that could not be read: that of another school it is not.
        var leavesHomeroom = person.HomeroomsRead && newSite != old.SiteId;
        for (var i = 0; i < person.Values.Length; i++)
        {
            var field = FieldMap.SyncedFields[i];
            var value = person.Values[i];
            if (field == PatronFields.Location && leavesHomeroom && value.State == MappedState.NotSent)
            {
                value = MappedValue.Blank;
            }

            if (value.State == MappedState.NotSent || Keeps(field))
            {
                continue;
            }

            var access = PatronFields.ByNumber(field);
            var was = access.Get(old);
            if (setup.Settings.Map.PolicyOf(field) == FieldPolicy.FillIfEmpty && was is not null)
            {
                continue;
            }

            if (value.State == MappedState.Blank)
            {
                var clears =
                    setup.Settings.Map.BlankOf(field) == BlankRule.Clear || (field == PatronFields.Location && newSite != old.SiteId);
                // In summer no session is current and nobody has a homeroom, so that none seems to be shared: that of another school it is not all the
                // same. Staff have none by themselves, and what the library wrote there stays.
                var told =
                    shared.Has(person.Group, i)
                    || (
                        field == PatronFields.Location
                        && leavesHomeroom
                        && old.SiteId is not null
                        && person.Group is RoleGroup.Student or RoleGroup.Teacher
                    );
                if (was is not null && clears && told && field is not (PatronFields.LastName or PatronFields.Barcode))
                {
                    values.Add(field, was, null);
                }

                continue;
            }

            if (string.Equals(was, value.Text, StringComparison.Ordinal))
            {
                continue;
            }

            if (field == PatronFields.Barcode && Barcodes.Problem(value.Text) is { } problem)
            {
                difference.Warn("barcode-unusable", $"The roster's barcode cannot be used: {problem}");
                continue;
            }

            values.Add(field, was, value.Text);
        }

        if (newSite != old.SiteId)
        {
            values.Add(PatronFields.Site, Number(old.SiteId), Number(newSite));
        }

        link = link with
        {
            RoleGroup = person.Group,
            Username = Text.Clean(person.User.Username),
            Guardians = person.GuardianIds,
            HomeroomClass = person.HomeroomUnknown && !leavesHomeroom ? link.HomeroomClass : person.HomeroomClass,
            LoginDisabled = !person.User.Enabled,
            Absent = person.AbsenceStays && link.Absent,
            SyncHash = hash,
        };

        var leftAll =
            person is { Org: not null, AnySite: null, MayBeElsewhere: false } && old.SiteId is { } present && siteIsMatched(present);
        if (person is { Org: null, Placeless: false })
        {
            difference.Warn("no-org", "The person has no organization in the roster; the site stays");
        }
        else if (person is { Org: { } org, Site: null } && !IsGone() && !setup.NotServed.Contains(org))
        {
            difference.Warn("org-unmatched", "The person's organization is not matched to a site; the site stays", org);
        }

        if (!person.StatusStays)
        {
            link = link with
            {
                LeftSchools = person.AnySite is null && (leftAll ? old.Status == PatronStatus.Transferred : link.LeftSchools),
            };
        }

        if (leftAll)
        {
            if (old.Group > SecurityGroup.Patron)
            {
                difference.Warn("staff-left", "The person left all matched schools, but has staff rights here: not transferred");
            }
            else
            {
                return Transfer(difference, old, link, oldLink, old.Status, setup, LeftAllSchools);
            }
        }
        else if (old.Status == PatronStatus.Transferred && !KeepsStatus(old, setup) && !link.LeftSchools && !person.StatusStays)
        {
            // Who had left for a school that is none of the library's is not back because theirs is matched no more.
            var back = link.StatusBefore is { } before and not PatronStatus.Transferred ? before : PatronStatus.Active;
            values.Add(PatronFields.Status, Number((int)old.Status), Number((int)back));
            link = link with { StatusBefore = null };
            difference.Outcome = Outcome.Reactivated;
            difference.Reason = "Back in the roster";
        }

        return Finish(difference, link, oldLink);

        bool IsUnsure()
        {
            var unsure = setup.Mapper.MayBePlacedElsewhere(person.User);
            if (unsure)
            {
                difference.Warn("orgs-partial", "The person's schools could not be read whole; the site stays");
            }

            return unsure;
        }

        // Of whoever has left all schools nobody has to hear each night that one of others is theirs now.
        bool IsGone() =>
            person.AnySite is null
            && (leftAll || oldLink is { LeftSchools: true })
            && old.Status is PatronStatus.Transferred or PatronStatus.Inactive;
    }

    /// <summary>The roster does not write the patron's status.</summary>
    public static bool KeepsStatus(Patron patron, SyncSetup setup) =>
        setup.Settings.Map.PolicyOf(PatronFields.Status) == FieldPolicy.LibraryKeeps
        || patron.KeptFields?.Split(',').Contains("1026") == true;

    /// <summary>A linked patron whom a verified full pull no longer has.</summary>
    public static PersonDifference Absent(Patron old, PatronLink link, SyncSetup setup)
    {
        var difference = new PersonDifference { Values = new ChangeValues() };
        return Transfer(difference, old, LinkState.Of(link) with { Absent = true, SyncHash = 0 }, link, old.Status, setup, NoLongerThere);
    }

    /// <summary>Drops the new barcode because somebody else has it.</summary>
    public static void RefuseBarcode(PersonDifference difference, PatronLink? oldLink)
    {
        difference.Values.Remove(PatronFields.Barcode);
        difference.Warn(BarcodeTaken, "The roster's barcode belongs to another patron; the present one stays");
        var link = difference.Link ?? (oldLink is null ? new LinkState() : LinkState.Of(oldLink));
        if (difference.Outcome == Outcome.Updated)
        {
            difference.Outcome = Outcome.Unchanged;
        }

        Finish(difference, link, oldLink);
    }

    private static PersonDifference Transfer(
        PersonDifference difference,
        Patron old,
        LinkState link,
        PatronLink? oldLink,
        PatronStatus status,
        SyncSetup setup,
        string reason
    )
    {
        if (old.DoNotTransfer)
        {
            difference.Warn("do-not-transfer", $"{reason}, but the patron is marked 'do not transfer'");
        }
        else if (
            !KeepsStatus(old, setup)
            && status is PatronStatus.Active or PatronStatus.CardLost or PatronStatus.Suspended or PatronStatus.Other
        )
        {
            difference.Values.Add(PatronFields.Status, Number((int)status), Number((int)PatronStatus.Transferred));
            var left = reason is LeftAllSchools;
            link = link with { StatusBefore = status, LeftSchools = left, Absent = !left };
            difference.Outcome = Outcome.Transferred;
            difference.Reason = reason;
        }

        return Finish(difference, link, oldLink);
    }

    private static PersonDifference Finish(PersonDifference difference, LinkState link, PatronLink? oldLink)
    {
        if (difference.Outcome == Outcome.None)
        {
            difference.Outcome = Outcome.Unchanged;
        }

        if (difference.Outcome == Outcome.Unchanged && difference.Values.Items.Any(v => v.Field != PatronFields.Guid))
        {
            difference.Outcome = Outcome.Updated;
        }

        if (difference.Warnings.Count > 0)
        {
            // What could not be done is said again the next time.
            link = link with
            {
                SyncHash = 0,
            };
        }

        var before = oldLink is null ? null : LinkState.Of(oldLink);
        difference.LinkBefore = before;
        difference.Link = link;
        difference.LinkChanges = before is null || before with { SyncHash = 0 } != link with { SyncHash = 0 };
        return difference;
    }

    private static bool IsAlias(PatronLink? link, string id) => link?.Aliases?.Split('\n').Contains(id, StringComparer.Ordinal) == true;

    internal static string? Number(int? value) => value?.ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>What <see cref="PersonPlan"/> found.</summary>
internal sealed class PersonDifference
{
    public required ChangeValues Values { get; init; }
    public Outcome Outcome { get; set; }
    public string? Reason { get; set; }
    public LinkState? Link { get; set; }
    public LinkState? LinkBefore { get; set; }

    /// <summary>The link differs in more than its hash.</summary>
    public bool LinkChanges { get; set; }
    public List<(string Code, string Message, string Detail)> Warnings { get; } = [];

    public void Warn(string code, string message, string detail = "") => Warnings.Add((code, message, detail));
}
